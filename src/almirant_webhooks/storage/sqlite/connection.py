"""Opens SQLite files, and runs transactions on them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from ...model import Misconfigured
from ...ops import files, sealing
from ...ops.sealing import Seals
from . import bulk, sharing
from .errors import is_busy, user_error

APPLICATION_ID = 0x616C6D77  # "almw" in the file's header: https://www.sqlite.org/pragma.html#pragma_application_id
SCHEMA_VERSION = 7
WAIT = 5.0
WAL_MOST = 64 * 1024 * 1024  # bytes of a WAL file that are kept after a checkpoint

T = TypeVar("T")


class Connection(sqlite3.Connection):
    """A connection that knows the keys of what is sealed in its file."""

    seals: Seals
    event_numbers = bulk.EVENT_NUMBERS
    read_rows = bulk.read_rows
    read_together = bulk.read_together
    write_rows = bulk.write_rows
    at_once = nullcontext[None]


def seals_of(conn: sqlite3.Connection) -> Seals:
    """Return what seals and opens the secrets in a connection's file."""
    assert isinstance(conn, Connection)
    return conn.seals


def retry_while_busy(call: Callable[[], T], wait: float = WAIT) -> T:
    """Repeat a call every millisecond, for at most `wait` seconds, until no lock of another connection stops it.

    SQLite's own busy handler sleeps longer and longer, and starves beside busy writers.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.001)


@contextmanager
def transaction(
    conn: sqlite3.Connection, wait: float = WAIT, observe: Callable[[float, float], None] | None = None
) -> Iterator[sqlite3.Connection]:
    """Run the block as one write transaction: committed as a whole, or rolled back when it raises.

    It uses BEGIN IMMEDIATE, as a deferred transaction that starts to write fails at once beside another writer. `observe`
    is called with the seconds that the lock and the commit took.
    """
    began_at = time.monotonic()
    retry_while_busy(lambda: _begin(conn), wait)
    begun = time.monotonic()
    try:
        yield conn
        committed_at = time.monotonic()
        retry_while_busy(conn.commit, wait)
        if observe is not None:
            observe(begun - began_at, time.monotonic() - committed_at)
    except BaseException:
        if conn.in_transaction:
            conn.rollback()
        raise


def begin_reading(conn: sqlite3.Connection) -> None:
    """Begin a read transaction: until `end_reading` all reads see the state of the first read."""
    end_reading(conn)  # an earlier user of the connection may have been cancelled
    conn.execute("BEGIN")


def end_reading(conn: sqlite3.Connection) -> None:
    """End the read transaction, so that the next read sees later commits."""
    if conn.in_transaction:
        conn.rollback()


def _begin(conn: sqlite3.Connection) -> None:
    """Begin a transaction. `executescript` releases Python's lock once, as `commit` does, and `execute` three times."""
    if conn.in_transaction:  # `executescript` would commit it
        raise sqlite3.ProgrammingError("there is a transaction already")
    conn.executescript("BEGIN IMMEDIATE")


def connect(path: Path, seals: Seals | None = None, *, read_only: bool = False, immutable: bool = False) -> Connection:
    """Open an SQLite file without creating it; special characters in its name have no meaning.

    What is sealed in it is opened with the keys of `seals`, or with those of the key file beside it. `immutable` is for `idle` alone: SQLite then ignores locks and the WAL.
    """
    if path.is_dir():
        raise Misconfigured(f"{path} is a directory; name a file in it.")
    _check_has_one_name(path)
    if not read_only and path.exists() and not os.access(path, os.W_OK):
        # SQLite would open it anyway, and create a -shm with the file's permissions, which nobody could write later.
        raise Misconfigured(f"{path} cannot be written by this user. Check the rights of the file and its directory.")
    uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "?mode=rw") + ("&immutable=1" if immutable else "")
    try:
        conn = sqlite3.connect(
            uri,
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
            factory=Connection,
        )
        conn.seals = seals or sealing.beside(path)
    except sqlite3.Error as error:
        raise user_error(error, path) from None
    try:
        conn.row_factory = sqlite3.Row
        retry_while_busy(lambda: conn.execute("PRAGMA schema_version").fetchone())
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("PRAGMA foreign_keys=OFF")
        conn.execute("PRAGMA mmap_size=0")
        if not read_only:
            # What is deleted or overwritten is zeros in the file, free pages too. Not every build of SQLite has it on.
            conn.execute("PRAGMA secure_delete=ON")
        if read_only:
            # A reader blocks nobody, but may meet the lock of a last close or of a recovery.
            conn.execute(f"PRAGMA busy_timeout={int(WAIT * 1000)}")
            conn.execute("PRAGMA query_only=ON")
            # A search for a text reads 10,000 bodies for a page; 16 MiB keep most of them for the next page.
            conn.execute("PRAGMA cache_size=-16384")
        if not immutable:
            sharing.give_group(path)
    except sqlite3.Error as error:
        conn.close()
        raise user_error(error, path) from None
    return conn


def is_there(path: Path) -> bool:
    """Return whether a file exists; raises `Misconfigured` if this user may not find out."""
    try:
        files.check_link(path)
        return path.exists()
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be reached ({error.strerror}). Check the rights of its directory."
        ) from None


def _check_has_one_name(path: Path) -> None:
    """Raise `Misconfigured` for a file with a hard link: SQLite would write a WAL for each name, and damage the file.

    (https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use) A second daemon could
    also get past the lock by such a name.
    """
    try:
        names = path.stat().st_nlink
    except OSError:  # opening it reports that
        return
    if names > 1:
        raise Misconfigured(
            f"{path} has another name (a hard link), and changes made by one are not seen by the other and damage the "
            f"file. Find it with `find {path.absolute().parent} -xdev -samefile {path.absolute()}` and remove it; "
            "to keep a copy, use `almirant-webhooks backup`."
        )


def check_is_ours(conn: sqlite3.Connection, path: Path) -> None:
    """Raise `Misconfigured` unless the file is our database, in the version of this release."""
    if _pragma(conn, "application_id") != APPLICATION_ID:
        raise Misconfigured(
            f"{path} is not a database of almirant-webhooks. Name another database.path, or make a new one with "
            "`almirant-webhooks migrate`. (An application's own database can hold the outbox: outbox.path.)"
        )
    version = _pragma(conn, "user_version")
    if version > SCHEMA_VERSION:
        raise Misconfigured(
            f"{path} was written by a newer release (schema {version}; this one reads {SCHEMA_VERSION}). "
            "Install that release again, or restore a backup of before the upgrade."
        )
    if version < SCHEMA_VERSION:
        raise Misconfigured(f"{path} has an older schema ({version}). Run `almirant-webhooks migrate`.")


def open_database(path: Path, seals: Seals | None = None) -> Connection:
    """Open the daemon's database for writing; raises `Misconfigured` if it is missing, not ours or of another version."""
    return _open(path, seals, read_only=False)


def open_reader(path: Path, seals: Seals | None = None) -> Connection:
    """Open the daemon's database for reading; raises as `open_database` does."""
    return _open(path, seals, read_only=True)


def _open(path: Path, seals: Seals | None, *, read_only: bool) -> Connection:
    if not is_there(path):
        raise Misconfigured(f"There is no database at {path}. Make one with `almirant-webhooks migrate`.")
    conn = connect(path, seals, read_only=read_only)
    with closed_on_error(conn, path):
        check_is_ours(conn, path)
        if not read_only:
            # Only the daemon runs checkpoints. Without a daemon, the last close of a command does.
            conn.execute("PRAGMA wal_autocheckpoint=0")
    return conn


@contextmanager
def closed_on_error(conn: sqlite3.Connection, path: object) -> Iterator[None]:
    """Close a connection if the block raises; SQLite's errors become `Misconfigured` or `Refused`."""
    try:
        yield
    except BaseException as error:
        conn.close()
        if isinstance(error, sqlite3.Error):
            raise user_error(error, path) from None
        raise


def _pragma(conn: sqlite3.Connection, name: str) -> int:
    return int(conn.execute(f"PRAGMA {name}").fetchone()[0])


def encoding(conn: sqlite3.Connection) -> str:
    """Return the file's text encoding, which is what CAST to BLOB gives (https://www.sqlite.org/pragma.html#pragma_encoding)."""
    return str(conn.execute("PRAGMA encoding").fetchone()[0])


def data_version(conn: sqlite3.Connection) -> int:
    """Return a number that changes when another connection commits (https://www.sqlite.org/pragma.html#pragma_data_version)."""
    return _pragma(conn, "data_version")


def become_checkpointer(conn: sqlite3.Connection) -> None:
    """Make this connection the only one that runs checkpoints: every 32 MiB of WAL, and a longer WAL is truncated.

    With a longer WAL fewer copies of index pages reach the file, but the commit that copies them takes longer: 10 ms
    at 8 MiB, 25 ms at 32. See docs/decisions/delivery-loop.md.
    """
    conn.execute(f"PRAGMA cache_size=-{32 * 1024}").fetchall()
    conn.execute("PRAGMA wal_autocheckpoint=8000").fetchall()
    conn.execute(f"PRAGMA journal_size_limit={WAL_MOST}").fetchall()
    # Else the statement journal goes to a file, with as many bytes as the WAL (https://www.sqlite.org/tempfiles.html#stmtjrnl).
    conn.execute("PRAGMA temp_store=MEMORY").fetchall()


@contextmanager
def large_rows(conn: sqlite3.Connection) -> Iterator[None]:
    """Use little memory around a transaction that rewrites very large rows: journal in a file, small page cache."""
    (store,), (size,) = (conn.execute(f"PRAGMA {name}").fetchone() for name in ("temp_store", "cache_size"))
    conn.executescript("PRAGMA temp_store=FILE; PRAGMA cache_size=-2000")
    try:
        yield
    finally:
        conn.executescript(f"PRAGMA temp_store={store}; PRAGMA cache_size={size}")


def shorten_wal(conn: sqlite3.Connection) -> bool:
    """Truncate a WAL that has grown beyond its limit; return whether there was one.

    It grows while a reader's transaction is open, and then keeps its length.
    This waits for nobody: beside a reader it does nothing, and a later call does it.
    """
    path = Path(f"{conn.execute('PRAGMA database_list').fetchone()[2]}-wal")
    try:
        size = path.stat().st_size
    except OSError:
        return False
    if size <= WAL_MOST:
        return False
    conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # the long part, beside readers and writers
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return True
