"""Makes and upgrades the tables of a database of ours in PostgreSQL, and finds out in which version they are."""

from __future__ import annotations

import re
from importlib import resources

from ...model import Misconfigured
from ...ops.sealing import Seals
from ...rules.postgres_urls import DEFAULT_SCHEMA, Place
from ..sql import sealed
from . import daemons, moves, operator_keys, tables
from .connection import Session, transaction, within
from .database_session import ALONE, DatabaseSession, writing
from .errors import engine_errors

SCHEMA_VERSION = 2
MIGRATIONS = resources.files(__package__).joinpath("database_migrations")
_LONG = 3600.0  # seconds that a migration's statement may take
_IS_THERE = "SELECT FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'schema_version'"
_OF_OTHERS = """
SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace(%s) AND relname = ANY(%s)
ORDER BY relname LIMIT 1
"""


def schema_version(session: Session) -> int:
    """Return the version of the database's tables, 0 when there are none; raises `Misconfigured` where nothing says it."""
    if not session.run(_IS_THERE, f"{session.place.schema}.database_meta"):
        return 0
    rows = session.run(f"SELECT schema_version FROM {session.place.schema}.database_meta")
    if not rows:
        raise Misconfigured(f"{session.place}: the row of the table database_meta was deleted. Restore a backup.")
    return int(rows[0][0])


def check(session: DatabaseSession) -> None:
    """Raise `Misconfigured` unless the tables are those of this release, and the outbox is one that it reads. Raises `StorageError` too."""
    with within(session):
        version = schema_version(session)
    if version > SCHEMA_VERSION:
        raise Misconfigured(_newer(session, version))
    if version < SCHEMA_VERSION:
        what = "has no tables of ours" if version == 0 else f"has an older schema ({version})"
        raise Misconfigured(f"{session.place}: it {what}. Run `almirant-webhooks migrate`.")
    with within(session):
        tables.check(session)
    moves.check_none_under_way(session)


def _newer(session: Session, version: int) -> str:
    return (
        f"{session.place}: the database was made by a newer release (schema {version}; this one knows {SCHEMA_VERSION}). "
        "Install that release again."
    )


@engine_errors()
def migrate_database(place: Place, seals: Seals, *, is_token_given: bool = False) -> list[str]:
    """Make or upgrade the tables, the outbox's too, and seal what is secret; return a sentence for each change.

    Each version is one transaction. Buckets that somebody deleted are put back. With `is_token_given` the operator's token is
    that of the configuration, and the one that is made beside the key of links is shown to nobody. Raises `StorageError`, and `Misconfigured` for tables of a newer release or
    of others.
    """
    session = DatabaseSession(place, seals)
    try:
        _check_names_are_free(session)
        done = [*tables.migrate(session), *_migrate(session)]
        with writing(session):
            if (count := sealed.seal_all(session)) is not None:
                done.append(f"{place}: what is secret of {count} webhooks sealed with the key in {seals.path}")
            if missing := daemons.restore_buckets(session):
                done.append(f"{place}: {missing} rows of the table buckets were missing, and are there again")
            token = operator_keys.ensure(session)
        if token is not None and not is_token_given:
            done.append(f"{place}: the operator's token made, which is shown this once: {token}")
        return done
    finally:
        session.close()


def _check_names_are_free(session: DatabaseSession) -> None:
    """Raise `Misconfigured` where another program has a table or view of a name of ours, before anything is made."""
    place = session.place
    with transaction(session, first=ALONE):  # else somebody could make ours between the two looks
        if schema_version(session):
            return
        names = re.findall(r"^CREATE (?:TABLE|VIEW) (\w+)", _script(1, place.schema), re.MULTILINE)
        for (name,) in session.run(_OF_OTHERS, place.schema, names):
            raise Misconfigured(
                f"{place} has a table of another program that is named {name}. Name another schema (database.schema)."
            )


def _migrate(session: DatabaseSession) -> list[str]:
    done: list[str] = []
    while True:
        # No batch has rows locked that a change of tables would wait for, and nobody else migrates.
        with transaction(session, statement=_LONG, first=ALONE):
            version = schema_version(session)
            if version > SCHEMA_VERSION:
                raise Misconfigured(_newer(session, version))
            if version == SCHEMA_VERSION:
                return done
            session.run(_script(version + 1, session.place.schema))
            session.run("UPDATE database_meta SET schema_version = %s", version + 1)
        done.append(f"{session.place}: database brought to schema {version + 1}")


def _script(version: int, schema: str) -> str:
    (file,) = [file for file in MIGRATIONS.iterdir() if file.name.startswith(f"{version:04}_")]
    return re.sub(rf"\b{DEFAULT_SCHEMA}\b", schema, file.read_text(encoding="utf-8"))
