"""What a move of a database from elsewhere needs of this one: its state, and rows in the order of their keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...model import Misconfigured, Refused
from . import daemons
from .connection import within
from .database_session import DatabaseSession
from .driver import RawCursor, errors

Row = tuple[Any, ...]
_IS_EMPTY = (
    "SELECT NOT EXISTS (SELECT FROM webhooks) AND NOT EXISTS (SELECT FROM events) AND NOT EXISTS (SELECT FROM audit)"
)
_UNDER_WAY = "SELECT database_id FROM moves WHERE finished_at IS NULL"
_FINISHED = "SELECT FROM moves WHERE database_id = %s AND finished_at IS NOT NULL"
_FINISH = "UPDATE moves SET finished_at = clock_timestamp() WHERE database_id = %s"
_INSERT = """
INSERT INTO outbox (event_id, project_id, event_type, payload, occurred_at, rejected_reason) VALUES (%s, %s, %s, %s, %s, %s)
"""
_META = "UPDATE database_meta SET revision = revision + %s, pruned_before = %s"
_NUMBERED = (("deliveries", "rowid"), ("attempts", "rowid"), ("audit", "seq"))
# Those of deliveries and verdicts count too: if an event's row was deleted by hand, they must not get another event.
_NUMBER_EVENTS = """
SELECT setval('event_numbers', greatest((SELECT max(seq) FROM events), (SELECT max(event_seq) FROM deliveries),
                                        (SELECT max(event_seq) FROM filtered_out), 0) + 1, false)
"""


def begin(session: DatabaseSession, database_id: str) -> None:
    """Note that a database is moved here, inside a transaction; raises `Refused` where there is another's content."""
    if daemons.listed(session):
        raise Refused(f"{session.place}: a daemon is there. Stop all of them first, and wait some seconds.")
    if session.run(_FINISHED, database_id):
        raise Refused(f"{session.place}: this database was copied there before. There is nothing to do.")
    under_way = session.run(_UNDER_WAY)
    if under_way and under_way[0][0] == database_id:
        return
    if under_way or not session.run(_IS_EMPTY)[0][0]:
        raise Refused(f"{session.place}: it is not empty. Name an empty database, or another schema (database.schema).")
    session.run("INSERT INTO moves (database_id) VALUES (%s)", database_id)


def check_none_under_way(session: DatabaseSession) -> None:
    """Raise `Misconfigured` if a move was cut short."""
    with within(session):
        if session.run(_UNDER_WAY):
            raise Misconfigured(
                f"{session.place}: `almirant-webhooks migrate --from` was cut short. Run it again: it goes on where it was."
            )


def finish(session: DatabaseSession, database_id: str, revision: int, pruned_before: str) -> None:
    """Note that the move is over, and let numbers go on behind those that were copied, inside a transaction."""
    for table, column in _NUMBERED:
        name = f"{session.place.schema}.{table}"
        session.run(
            f"SELECT setval(pg_get_serial_sequence(%s, %s), coalesce(max({column}), 0) + 1, false) FROM {table}",
            name,
            column,
        )
    session.run(_NUMBER_EVENTS)
    session.run(_META, revision, pruned_before)
    session.run(_FINISH, database_id)


def analyse(session: DatabaseSession, tables: Iterable[str]) -> None:
    """Let the planner know of the tables that have rows, inside a transaction. Of each one a sample of bounded size is read."""
    for table in tables:
        if session.run(f"SELECT EXISTS (SELECT FROM {table})")[0][0]:
            session.run(f"ANALYZE {table}")


def reached(session: DatabaseSession, table: str, key: Sequence[str]) -> tuple[int, Row | None]:
    """Return how many rows a table has, and the key of the last one, inside a transaction."""
    count = session.run(f"SELECT count(*) FROM {table}")[0][0]
    order = ", ".join(f"{name} DESC" for name in key)
    last = session.run(f"SELECT {', '.join(key)} FROM {table} ORDER BY {order} LIMIT 1")
    return int(count), tuple(last[0]) if last else None


def put_into_outbox(session: DatabaseSession, *row: object) -> None:
    """Insert a row of the outbox, inside a transaction: its event's id, project, type, payload and time, and why it was rejected."""
    session.run(_INSERT, *row)


def try_to_put_into_outbox(session: DatabaseSession, *row: object) -> bool:
    """Do the same with a row that may break the rules of the outbox; tell whether it is there."""
    session.run("SAVEPOINT row")
    try:
        put_into_outbox(session, *row)
    except (errors.DataError, errors.IntegrityError):
        session.run("ROLLBACK TO SAVEPOINT row")
        return False
    session.run("RELEASE SAVEPOINT row")
    return True


def put(session: DatabaseSession, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Insert rows, inside a transaction."""
    with session.conn.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def rows(
    session: DatabaseSession, table: str, columns: Sequence[str], key: Sequence[str], after: Row | None, limit: int
) -> list[Row]:
    """Return the next rows behind a key, as a file has them: times as text, and truths as numbers."""
    marks = ", ".join(f"${place}" for place in range(1, len(key) + 1))
    behind = f"WHERE ({', '.join(key)}) > ({marks})" if after is not None else ""
    query = f"SELECT {', '.join(columns)} FROM {table} {behind} ORDER BY {', '.join(key)} LIMIT {limit}"
    with within(session):
        found = RawCursor(session.conn).execute(query.encode(), list(after or ())).fetchall()
    return [tuple(int(value) if isinstance(value, bool) else value for value in row) for row in found]


def storable(value: object) -> object:
    """Return a value of a file as PostgreSQL can have it: no text there has a NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
