"""An application's triggers on the outbox, which run inside the daemon's statements and can make them fail."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ..engine import TriggerFails, trigger_fails, trigger_keeps
from .errors import primary_code

# What the statements themselves never meet: rows are inserted and marked by their own rules.
_OF_A_TRIGGER = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
_NAMES = """
SELECT name FROM sqlite_schema
WHERE type = 'trigger' AND lower(tbl_name) = 'outbox' AND name NOT LIKE 'outbox\\_id\\_when\\_%' ESCAPE '\\'
ORDER BY name LIMIT 10
"""
_UNREAD = """
SELECT id FROM outbox WHERE id IN (SELECT value FROM json_each(?)) AND fanned_out_at IS NULL AND rejected_reason IS NULL
"""


ERRORS = (sqlite3.IntegrityError, sqlite3.OperationalError, sqlite3.DataError)


def trigger_names(conn: sqlite3.Connection) -> list[str]:
    """Return the names of triggers on the outbox that are not ours."""
    return [row[0] for row in conn.execute(_NAMES)]


def trigger_error(conn: sqlite3.Connection, error: sqlite3.Error) -> TriggerFails | None:
    """Return the error as that of an application's triggers, if there are any and it can be theirs."""
    if primary_code(error) not in _OF_A_TRIGGER or not (names := trigger_names(conn)):
        return None
    return TriggerFails(trigger_fails(names, error))


@contextmanager
def blaming(conn: sqlite3.Connection) -> Iterator[None]:
    """Raise what fails in the block as `TriggerFails`, if it can be the fault of an application's trigger."""
    try:
        yield
    except ERRORS as error:
        if (why := trigger_error(conn, error)) is None:
            raise
        raise why from error


def ignored_marks(conn: sqlite3.Connection, ids: Collection[int]) -> tuple[set[int], TriggerFails | None]:
    """Return which of these rows are unmarked although no mark failed (RAISE(IGNORE)), and the error to name."""
    rows = {row[0] for row in conn.execute(_UNREAD, (json.dumps(list(ids)),))}
    names = trigger_names(conn)
    if not rows or not names:
        return set(), None
    return rows, TriggerFails(trigger_keeps(names))
