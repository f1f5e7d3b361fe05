"""Finds out whether a schema has the outbox's tables, and in which version; makes them."""

from __future__ import annotations

from ...model import Misconfigured
from ..outbox_rows import OUTBOX_COLUMNS
from .connection import Session, transaction
from .errors import NoRights, NoTables, engine_errors
from .scripts import SCHEMA_VERSION, scripts

_MIGRATE_LOCK = 1634495864  # one at a time in a database, whoever migrates
_FIND = """
SELECT c.relname, array_agg(a.attname::text) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace(%s) AND c.relname IN ('outbox', 'outbox_meta') AND a.attnum > 0
GROUP BY c.relname
"""


def schema_version(session: Session) -> int:
    """Return the version of the outbox's tables, 0 when there are none; raises `Misconfigured` for tables of others."""
    place = session.place
    columns_by_table: dict[str, set[str]] = {name: set(columns) for name, columns in session.run(_FIND, place.schema)}
    for name, columns in columns_by_table.items():
        if missing := OUTBOX_COLUMNS[name] - columns:
            raise Misconfigured(
                f"{place} has a table of another program that is named {name}: it has no column {min(missing)}. "
                "Name another schema (database.schema)."
            )
    if not columns_by_table:
        return 0
    if len(columns_by_table) == 1:
        raise Misconfigured(
            f"{place}: of the tables outbox and outbox_meta one is there without the other. Restore it."
        )
    rows = session.run(f"SELECT schema_version FROM {place.schema}.outbox_meta")
    return int(rows[0][0]) if rows else 0


@engine_errors()
def check(session: Session) -> None:
    """Raise `NoTables` unless the outbox's tables are there, and `Misconfigured` for a version that this release does not read."""
    version = schema_version(session)
    if version == 0:
        raise NoTables(
            "there are no tables outbox and outbox_meta",
            f"{session.place}: there are no tables outbox and outbox_meta. Make them with `almirant-webhooks migrate`, or with "
            "the statements that `almirant-webhooks outbox-sql --postgres` prints.",
        )
    _check_known(session, version)


def _check_known(session: Session, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise Misconfigured(
            f"{session.place}: the outbox was made by a newer release (schema {version}; this one knows {SCHEMA_VERSION}). "
            "Install that release again."
        )


def migrate(session: Session) -> list[str]:
    """Make or upgrade the outbox's tables, in one transaction; return a sentence for each change.

    One that is there, and whose owner somebody else is, stays as it is: every schema is served.
    """
    version = 0
    try:
        with transaction(session, statement=3600.0):
            session.run("SELECT pg_advisory_xact_lock(%s)", _MIGRATE_LOCK)
            version = schema_version(session)
            return _upgrade(session, version)
    except NoRights as error:
        if version == 0:
            raise
        return [
            f"{session.place}: the outbox stays at schema {version}, which is served too, as this role may not change it ({error}). "
            f"Let the owner of its tables run what `almirant-webhooks outbox-sql --postgres --schema {session.place.schema} "
            f"--from {version}` prints."
        ]


def _upgrade(session: Session, version: int) -> list[str]:
    place = session.place
    _check_known(session, version)
    if version == SCHEMA_VERSION:
        return []
    if not session.run("SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s", place.schema):
        session.run(f"CREATE SCHEMA {place.schema}")
    for script in scripts(version, place.schema):
        session.run(script)
    return [f"{place}: outbox brought to schema {SCHEMA_VERSION}"]
