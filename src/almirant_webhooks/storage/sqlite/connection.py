"""Opening SQLite files and running whole transactions on them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ...model import Misconfigured
from ...ops import files
from . import sharing, text
from .errors import is_busy, user_error

APPLICATION_ID = 0x616C6D77  # "almw" in the file's header: https://www.sqlite.org/pragma.html#pragma_application_id
SCHEMA_VERSION = 7
WAIT = 5.0
WAL_MOST = 64 * 1024 * 1024  # bytes that a WAL may keep on the disk

T = TypeVar("T")


def retry_while_busy(call: Callable[[], T], wait: float = WAIT) -> T:
    """Run a call until no lock is in its way, asking every millisecond for at most `wait` seconds.

    SQLite's own busy wait sleeps longer and longer and starves beside busy writers.
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

    BEGIN IMMEDIATE, since a deferred transaction that starts to write fails at once beside another writer. `observe`
    is told how many seconds the lock and the commit took.
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
    """Let all that is read from now on be of one state of the file, that of the first read, until `end_reading`."""
    end_reading(conn)  # whoever borrowed the connection before may have been cancelled
    conn.execute("BEGIN")


def end_reading(conn: sqlite3.Connection) -> None:
    """Let the next read be of what is committed then."""
    if conn.in_transaction:
        conn.rollback()


def _begin(conn: sqlite3.Connection) -> None:
    """Begin a transaction. `executescript` gives Python's lock away once, as `commit` does; `execute` three times."""
    if conn.in_transaction:  # it would be committed
        raise sqlite3.ProgrammingError("there is a transaction already")
    conn.executescript("BEGIN IMMEDIATE")


def connect(path: Path, *, read_only: bool = False, immutable: bool = False) -> sqlite3.Connection:
    """Open an SQLite file that exists, without creating it; every kind of file name is taken as it stands.

    `immutable` is for `idle` alone: SQLite then looks neither for locks nor for a WAL.
    """
    if path.is_dir():
        raise Misconfigured(f"{path} is a directory; name a file in it.")
    _check_has_one_name(path)
    if not read_only and path.exists() and not os.access(path, os.W_OK):
        # SQLite would open it all the same, and make a -shm with the file's own rights, which nobody could write later.
        raise Misconfigured(f"{path} cannot be written by this user. Check the rights of the file and its directory.")
    uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "?mode=rw") + ("&immutable=1" if immutable else "")
    try:
        conn = sqlite3.connect(
            uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
    except sqlite3.Error as error:
        raise user_error(error, path) from None
    try:
        conn.row_factory = sqlite3.Row
        retry_while_busy(lambda: conn.execute("PRAGMA schema_version").fetchone())
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("PRAGMA foreign_keys=OFF")
        conn.execute("PRAGMA mmap_size=0")
        text.register(conn)
        if read_only:
            # A reader is in nobody's way but may meet the lock of a last close or of a recovery.
            conn.execute(f"PRAGMA busy_timeout={int(WAIT * 1000)}")
            conn.execute("PRAGMA query_only=ON")
            # A page of the log that looks for a text reads 10,000 bodies; 16 MiB hold most of them for the next.
            conn.execute("PRAGMA cache_size=-16384")
        if not immutable:
            sharing.give_group(path)
    except sqlite3.Error as error:
        conn.close()
        raise user_error(error, path) from None
    return conn


def is_there(path: Path) -> bool:
    """Tell whether there is a file; raises `Misconfigured` when this user may not even look."""
    try:
        files.check_link(path)
        return path.exists()
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be reached ({error.strerror}). Check the rights of its directory."
        ) from None


def _check_has_one_name(path: Path) -> None:
    """Raise `Misconfigured` for a file with a hard link: by each name SQLite would write a WAL of its own, and damage it.

    (https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use) A second daemon could
    get past the lock by such a name too.
    """
    try:
        names = path.stat().st_nlink
    except OSError:  # opening it says so
        return
    if names > 1:
        raise Misconfigured(
            f"{path} has another name (a hard link), and changes made by one are not seen by the other and damage the "
            f"file. Find it with `find {path.absolute().parent} -xdev -samefile {path.absolute()}` and remove it; "
            "to keep a copy, use `almirant-webhooks backup`."
        )


def check_is_ours(conn: sqlite3.Connection, path: Path) -> None:
    """Raise `Misconfigured` unless the file is a database of ours in the version that this release reads."""
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


def open_database(path: Path) -> sqlite3.Connection:
    """Open the daemon's database for writing; raises `Misconfigured` when it is missing, not ours or of another version."""
    return _open(path, read_only=False)


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the daemon's database for reading alone."""
    return _open(path, read_only=True)


def _open(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not is_there(path):
        raise Misconfigured(f"There is no database at {path}. Make one with `almirant-webhooks migrate`.")
    conn = connect(path, read_only=read_only)
    with closed_on_error(conn, path):
        check_is_ours(conn, path)
        if not read_only:
            # One checkpointer for each file: the daemon. A command's own last close checkpoints when no daemon runs.
            conn.execute("PRAGMA wal_autocheckpoint=0")
    return conn


@contextmanager
def closed_on_error(conn: sqlite3.Connection, path: object) -> Iterator[None]:
    """Close a connection that is being opened when anything is raised; SQLite's own errors become sentences."""
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
    """Return how text is stored in the file: what a CAST to BLOB gives (https://www.sqlite.org/pragma.html#pragma_encoding)."""
    return str(conn.execute("PRAGMA encoding").fetchone()[0])


def data_version(conn: sqlite3.Connection) -> int:
    """Return a number that changes when another connection commits (https://www.sqlite.org/pragma.html#pragma_data_version)."""
    return _pragma(conn, "data_version")


def become_checkpointer(conn: sqlite3.Connection) -> None:
    """Make this connection the file's one checkpointer: every 32 MiB of WAL, and a long WAL's space is given back.

    The longer the WAL, the fewer copies of index pages reach the file, and the longer the commit that has to copy them: 10 ms
    at 8 MiB, 25 ms at 32. See docs/decisions/delivery-loop.md.
    """
    conn.execute(f"PRAGMA cache_size=-{32 * 1024}").fetchall()
    conn.execute("PRAGMA wal_autocheckpoint=8000").fetchall()
    conn.execute(f"PRAGMA journal_size_limit={WAL_MOST}").fetchall()
    # What undoes a statement of many rows goes to a file else, as many bytes as to the WAL (https://www.sqlite.org/tempfiles.html#stmtjrnl).
    conn.execute("PRAGMA temp_store=MEMORY").fetchall()


@contextmanager
def large_rows(conn: sqlite3.Connection) -> Iterator[None]:
    """Use little memory, around a transaction that writes very large rows anew: what undoes it is in a file, few pages are kept."""
    (store,), (size,) = (conn.execute(f"PRAGMA {name}").fetchone() for name in ("temp_store", "cache_size"))
    conn.executescript("PRAGMA temp_store=FILE; PRAGMA cache_size=-2000")
    try:
        yield
    finally:
        conn.executescript(f"PRAGMA temp_store={store}; PRAGMA cache_size={size}")


def prove_writable(conn: sqlite3.Connection) -> None:
    """Write something that changes nothing: an empty transaction succeeds on a full disk too. Inside a transaction."""
    conn.execute("UPDATE database_meta SET batch = batch")


def shorten_wal(conn: sqlite3.Connection) -> bool:
    """Give back the space of a WAL that has grown beyond its limit; tell whether there was one.

    It grows as long as a reader's transaction is open, and then keeps its length, as a file that is full of holes.
    Nobody is waited for: with a reader in the way it is left to the next look.
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
