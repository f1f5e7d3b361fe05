"""Creates and upgrades the tables. Each migration is one transaction, which also sets the version."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import datetime
from importlib import resources
from pathlib import Path

from ... import clock
from ...model import Misconfigured, Refused
from ...ops import files
from ...ops.sealing import Seals
from ...rules.event_types import NOTICE_PREFIX
from ..sql import reserved_types, sealed
from . import free_pages, journal, outbox
from .connection import APPLICATION_ID, SCHEMA_VERSION, Connection, connect, is_there, seals_of, transaction
from .errors import engine_errors, user_error
from .tables import schema_version


def migrate(database_path: Path, outbox_path: Path | None, seals: Seals | None = None) -> list[str]:
    """Upgrade the database and its outbox to this release's version; return a sentence for each change.

    What is secret in the database is sealed with the keys of `seals`, or of the file beside the database, which is made.
    The first time leaves nothing of it in the file's free space.

    A new file gets 0640 (a database) or 0660 (an outbox). In a file with tables of others only `outbox`
    and `outbox_meta` are created.
    """
    lines = migrate_database(database_path, seals, with_outbox=outbox_path is None)
    if outbox_path is not None:
        try:
            new = _make_file(outbox_path, 0o660)
            with closing(connect(outbox_path)) as conn:
                if new or outbox.is_alone(conn):
                    journal.bring_to_wal(conn, outbox_path)
                with transaction(conn):
                    lines += _migrate_outbox(conn, outbox_path)
        except sqlite3.Error as error:
            raise user_error(error, outbox_path) from None
    return lines


def migrate_database(path: Path, seals: Seals | None = None, *, with_outbox: bool = False) -> list[str]:
    """Likewise the database alone, whose outbox is somewhere else unless it is `with_outbox`."""
    try:
        new = _make_file(path, 0o640)
        with closing(connect(path, seals)) as conn:
            _prepare(conn, path, new=new)
            with transaction(conn):
                lines = _migrate_database(conn, path)
                if with_outbox:
                    lines += _migrate_outbox(conn, path)
            return lines + free_pages.overwrite(conn, path)
    except sqlite3.Error as error:
        raise user_error(error, path) from None


def _make_file(path: Path, mode: int) -> bool:
    """Create an empty file with these permissions before SQLite opens it, as its -wal inherits them."""
    if is_there(path):
        return False
    try:
        os.close(files.create(path, mode))
    except FileNotFoundError:
        raise Misconfigured(f"The directory {path.parent} does not exist; make it first.") from None
    except OSError as error:
        raise Misconfigured(f"{path} cannot be made: {error.strerror}.") from None
    return True


def _prepare(conn: Connection, path: Path, *, new: bool) -> None:
    """Set pragmas that must be set outside a transaction, in a file that is ours or empty."""
    if not new and conn.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        if conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise Misconfigured(
                f"{path} holds tables of another program. Name another database.path; an application's own database "
                "can hold the outbox (outbox.path)."
            )
        new = True
    if new:
        conn.execute("PRAGMA auto_vacuum=INCREMENTAL")
    journal.bring_to_wal(conn, path)


def _migrate_database(conn: Connection, path: Path) -> list[str]:
    """Call it inside a transaction."""
    version = int(conn.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise Misconfigured(f"{path} was written by a newer release (schema {version}); install that release again.")
    lines = []
    if 0 < version < reserved_types.SINCE_SCHEMA and (types := reserved_types.in_use(conn)):
        lines.append(
            f"{path}: event types that begin with {NOTICE_PREFIX} are the service's own from this release on, and a "
            f"producer's row with one is rejected. In use here are {', '.join(types)}: give them another name, in producers "
            "and in webhooks."
        )
    for number in _numbers("migrations", version):
        numbers = f"PRAGMA user_version={number};\nPRAGMA application_id={APPLICATION_ID};\n"
        _run(conn, _script("migrations", number) + numbers)
        lines.append(f"{path}: database brought to schema {number}")
    if (count := sealed.seal_all(conn)) is not None:
        lines.append(f"{path}: what is secret of {count} webhooks sealed with the key in {seals_of(conn).path}")
    return lines


def _migrate_outbox(conn: Connection, path: Path) -> list[str]:
    """Call it inside a transaction."""
    version = schema_version(conn)
    if version > outbox.SCHEMA_VERSION:
        raise Misconfigured(f"The outbox in {path} was made by a newer release (schema {version}).")
    for number in _numbers("outbox_migrations", version):
        _run(conn, _script("outbox_migrations", number))
    if version < outbox.SCHEMA_VERSION:
        return [f"{path}: outbox brought to schema {outbox.SCHEMA_VERSION}"]
    return []


@engine_errors()
def adopt_outbox(database_path: Path, outbox_path: Path | None, since: datetime | None) -> int:
    """Bind an outbox to this database, whatever it was bound to; return how many taken rows will be read again.

    The database gets a new id, so that its other copies count as other databases. With `since`, rows that
    were taken at that time or later are unmarked. Events that the database has already are recognised by their ids and
    not sent twice.
    """
    from .connection import open_database

    database = open_database(database_path)
    try:
        with transaction(database):
            outbox.renew_identity(database)
        database_id, batch = outbox.identity(database)
    finally:
        database.close()
    conn = outbox.open_outbox(database_path, outbox_path)
    try:
        with transaction(conn):
            conn.execute("UPDATE outbox_meta SET database_id = ?, batch = ?", (database_id, batch))
            if since is None:
                return 0
            again = conn.execute(
                "UPDATE outbox SET fanned_out_at = NULL WHERE fanned_out_at >= ?", (clock.text(since),)
            )
            return again.rowcount
    finally:
        conn.close()


def outbox_sql() -> str:
    """Return the SQL that creates the current outbox, for applications with migrations of their own."""
    with closing(sqlite3.connect(":memory:")) as conn:
        for number in _numbers("outbox_migrations", 0):
            _run(conn, _script("outbox_migrations", number))
        rows = conn.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
        statements = [f"{row[0]};\n" for row in rows]
    first = f"INSERT INTO outbox_meta (id, schema_version) VALUES (1, {outbox.SCHEMA_VERSION});\n"
    return "\n".join([*statements, first])


def outbox_upgrade_sql(version: int) -> str:
    """Return the SQL that upgrades an outbox to the current schema; empty if it has that.

    Run it in one transaction.
    """
    return "\n".join(_script("outbox_migrations", number) for number in _numbers("outbox_migrations", version))


def _numbers(folder: str, version: int) -> list[int]:
    """Return the numbers of the migrations after a version, in order."""
    names = [entry.name for entry in resources.files(__package__).joinpath(folder).iterdir()]
    return sorted(int(name[:4]) for name in names if name.endswith(".sql") and int(name[:4]) > version)


def _script(folder: str, number: int) -> str:
    scripts = [
        entry
        for entry in resources.files(__package__).joinpath(folder).iterdir()
        if entry.name.startswith(f"{number:04d}_")
    ]
    return scripts[0].read_text(encoding="utf-8")


def _run(conn: sqlite3.Connection, script: str) -> None:
    """Run a script inside the open transaction (`executescript` would commit it)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            conn.execute(statement)
            statement = ""


def grant_producer(role: str) -> list[str]:
    """Raise `Refused`: a file knows no roles."""
    raise Refused(
        f"There is no role {role!r} to grant rights to: the outbox is in a file, whose own rights say who may insert (see "
        "docs/producers.md). Roles are PostgreSQL's: name its database in outbox.url.",
        "producer",
    )
