"""The outbox, into which producers insert events. What is here opens a connection of its own; the delivery loop reads and
marks one in the database's file on the database's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...model import Conflict, Misconfigured, Refused
from ...rules.erasing import ERASED_PAYLOAD
from ..engine import CHANGED_AFTER_TAKEN, NO_UNICODE, OTHER_DATABASE, Mark, OutboxRow, older_database, other_content
from ..outbox_rows import columns_of, content_of
from ..records import RowState
from ..sql.rows import row_as
from . import sharing, triggers
from .bulk import write_rows
from .connection import WAIT, Connection, closed_on_error, connect, is_there, transaction
from .errors import user_error
from .tables import schema_version
from .unread import MAX_TEXT

SCHEMA_VERSION = 4
OLDEST_VERSION = 1  # the oldest schema that is supported
BY_PROJECT = 4  # the first schema with an index of unread rows by project
# An id is unique in its project: each project is one step in that index.
_OF_EVENT = """
WITH RECURSIVE project (id) AS (
    SELECT min(project_id) FROM outbox
    UNION ALL
    SELECT (SELECT min(project_id) FROM outbox WHERE project_id > project.id) FROM project WHERE project.id IS NOT NULL)
SELECT o.id, o.rejected_reason, o.fanned_out_at FROM project CROSS JOIN outbox o ON o.project_id = project.id AND o.event_id = ?
ORDER BY o.id DESC LIMIT 1
"""
_COLUMNS = ("event_id", "project_id", "event_type", "occurred_at")
_SAME = {
    column: f"substr(CAST(outbox.{column} AS BLOB), 1, {MAX_TEXT}) = CAST(answer.{column} AS BLOB)"
    for column in _COLUMNS
}
# A payload that is too large was not read; it is identified by its size.
_SAME_PAYLOAD = """
CASE WHEN answer.payload IS NULL THEN length(CAST(outbox.payload AS BLOB)) = answer.size
     ELSE CAST(outbox.payload AS BLOB) = CAST(answer.payload AS BLOB) END
"""
_UNREAD = "outbox.id = answer.id AND outbox.fanned_out_at IS NULL AND outbox.rejected_reason IS NULL"
_READ = ("id", *_COLUMNS, "size", "payload")
_MARK = f"""
UPDATE outbox SET fanned_out_at = answer.at, rejected_reason = answer.reason FROM (
    SELECT {", ".join(f"column{place} AS {name}" for place, name in enumerate(("at", "reason", *_READ), 1))}
    FROM (VALUES {{rows}})) AS answer
WHERE {" AND ".join([_UNREAD, *_SAME.values(), _SAME_PAYLOAD])}
"""
_MARK_TYPES = "time text int text text text text int bytes"
_IS_SAME = f"""
WITH answer ({", ".join(_READ)}) AS (VALUES ({", ".join("?" * len(_READ))}))
SELECT 1 FROM answer CROSS JOIN outbox WHERE {" AND ".join([_UNREAD, *_SAME.values(), _SAME_PAYLOAD])}
"""
# Of an event that was taken already only another time is a change that the next read would not see: an event is known by
# its id, and what else it holds.
_REJECT_CHANGED = f"""
WITH answer ({", ".join(_READ)}) AS (VALUES ({", ".join("?" * len(_READ))}))
UPDATE outbox SET rejected_reason = ? FROM answer
WHERE {" AND ".join([_UNREAD, *(_SAME[one] for one in _COLUMNS if one != "occurred_at"), _SAME_PAYLOAD])} RETURNING 1
"""


_MARK_TAKEN = "UPDATE outbox SET fanned_out_at = ?1 WHERE id IN (SELECT value FROM json_each(?2))"
_MARK_REJECTED = "UPDATE outbox SET rejected_reason = ?1 WHERE id = ?2"


def open_outbox(database_path: Path, outbox_path: Path | None, *, read_only: bool = False) -> Connection:
    """Open the outbox, for writing unless `read_only`; raises `Misconfigured` if it is missing or of another version."""
    path = outbox_path or database_path
    if not is_there(path):
        raise Misconfigured(f"There is no outbox at {path}. Make it with `almirant-webhooks migrate`.")
    conn = connect(path, read_only=read_only)
    with closed_on_error(conn, path):
        version = schema_version(conn)
        if version == 0:
            raise Misconfigured(
                f"{path} has no tables outbox and outbox_meta. Make them with `almirant-webhooks migrate`, or with "
                "the statements that `almirant-webhooks outbox-sql` prints."
            )
        if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
            raise Misconfigured(
                f"The outbox in {path} has schema {version}; this release reads {OLDEST_VERSION} to {SCHEMA_VERSION}. "
                "Install a newer release."
            )
        if outbox_path is None and not read_only:
            conn.execute("PRAGMA wal_autocheckpoint=0")
        elif outbox_path is not None and (words := sharing.kept_out(outbox_path)):
            raise Misconfigured(words)
    return conn


def identity(database: sqlite3.Connection) -> tuple[str, int]:
    """Return the database's id and the number of the last batch that it took."""
    row = database.execute("SELECT database_id, batch FROM database_meta").fetchone()
    return str(row[0]), int(row[1])


def renew_identity(database: sqlite3.Connection) -> None:
    """Give the database a new id, as copies with the old id may have taken other batches."""
    database.execute("UPDATE database_meta SET database_id = 'db_' || lower(hex(randomblob(16)))")


def bind(conn: sqlite3.Connection, database_id: str, batch: int) -> None:
    """Bind a new outbox to this database; raises `Misconfigured` if another database, or a later state of it, took rows."""
    try:
        with transaction(conn):
            bound, taken = conn.execute("SELECT database_id, batch FROM outbox_meta").fetchone()
            if bound is None:
                bound, taken = database_id, batch
            # Write even if nothing changes: a read-only file must be detected now, not at the first event.
            conn.execute("UPDATE outbox_meta SET database_id = ?, batch = ?", (bound, taken))
    except sqlite3.Error as error:
        raise user_error(error, conn.execute("PRAGMA database_list").fetchone()[2]) from None
    if bound != database_id:
        raise Misconfigured(OTHER_DATABASE)
    if taken > batch:
        raise Misconfigured(older_database(batch, taken))


def mark(conn: sqlite3.Connection, marks: Sequence[Mark], batch: int | None, now: str) -> list[Mark]:
    """Write the daemon's answers into the rows; a row that has changed since it was read stays unmarked, to be read again.

    Where the event was taken and its `occurred_at` alone is another now, the row is rejected: read again, it would be taken
    for a duplicate. Those are returned. Call it inside a transaction. `batch` is left out in the transaction that copies
    them: then neither can be behind.
    """
    slow, marks = (
        [row_mark for row_mark in marks if row_mark.is_slow],
        [row_mark for row_mark in marks if not row_mark.is_slow],
    )
    for row_mark in slow:
        # Two statements, one to read and one to write: in one the payload would be in memory three times.
        if conn.execute(_IS_SAME, _as_read(row_mark.row)).fetchall():
            conn.execute(_MARK_REJECTED, (row_mark.rejected_reason, row_mark.row.id))
    changed_rows = write_rows(
        conn,
        _MARK,
        _MARK_TYPES,
        [
            (None if row_mark.rejected_reason else now, row_mark.rejected_reason, *_as_read(row_mark.row))
            for row_mark in marks
        ],
    )
    changed = (
        [Mark(row_mark.row, CHANGED_AFTER_TAKEN) for row_mark in marks if not row_mark.rejected_reason]
        if changed_rows < len(marks)
        else []
    )
    if batch is not None:
        conn.execute("UPDATE outbox_meta SET batch = ?", (batch,))
    return [
        row_mark
        for row_mark in changed
        if conn.execute(_REJECT_CHANGED, (*_as_read(row_mark.row), CHANGED_AFTER_TAKEN)).fetchall()
    ]


def _as_read(row: OutboxRow) -> tuple[object, ...]:
    return (row.id, row.event_id, row.project_id, row.event_type, row.occurred_at, row.size, row.payload)


def mark_taken(conn: sqlite3.Connection, marks: Iterable[Mark], now: str) -> None:
    """Write the daemon's answers into rows that were read in this transaction, and so cannot have changed."""
    taken = [answer.row.id for answer in marks if not answer.rejected_reason]
    conn.execute(_MARK_TAKEN, (now, json.dumps(taken)))
    rejected = [(answer.rejected_reason, answer.row.id) for answer in marks if answer.rejected_reason]
    if rejected:
        conn.executemany(_MARK_REJECTED, rejected)


def is_alone(conn: sqlite3.Connection) -> bool:
    """Return whether the file has no tables but the outbox's, and those that Litestream makes in each file that it copies.

    Only then do we keep it small, and empty its WAL.
    """
    query = (
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT IN "
        "('outbox', 'outbox_meta', '_litestream_lock', '_litestream_seq')"
    )
    return bool(conn.execute(query).fetchone()[0] == 0)


def insert(
    conn: sqlite3.Connection,
    *,
    project_id: str,
    event_type: str,
    payload: str,
    event_id: str | None,
    occurred_at: str | None = None,
    wait: float = WAIT,
) -> str:
    """Insert one event as a producer would; return its id. Raises `Refused` with the text of the violated rule.

    The same id with the same content is a duplicate and changes nothing; an explicit time is part of the content.
    """
    content = content_of(event_type, payload, occurred_at)
    columns = columns_of(project_id, event_id, content)
    marks = ", ".join("?" * len(columns))
    try:
        with transaction(conn, wait):
            row = conn.execute(
                f"INSERT INTO outbox ({', '.join(columns)}) VALUES ({marks}) RETURNING event_id", list(columns.values())
            ).fetchone()
        return str(row[0])
    except UnicodeEncodeError:
        raise Refused(NO_UNICODE, "payload") from None
    except sqlite3.IntegrityError as error:
        rule = str(error).removeprefix("CHECK constraint failed: ")
        if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
            return _same_or_refused(conn, project_id, event_id or "", content)
        raise Refused(f"The event was refused: {rule}.", rule.split()[0]) from None
    except sqlite3.OperationalError as error:
        if (refusal := triggers.trigger_error(conn, error)) is None:
            raise
        raise Refused(f"The event was refused: {refusal}.") from None


def _same_or_refused(conn: sqlite3.Connection, project_id: str, event_id: str, content: Mapping[str, str]) -> str:
    row = conn.execute(
        f"SELECT {', '.join(content)} FROM outbox WHERE project_id = ? AND event_id = ?", (project_id, event_id)
    ).fetchone()
    if row is not None and (dict(row) == content or str(row["payload"]).startswith(ERASED_PAYLOAD)):
        return event_id
    raise Conflict(other_content(event_id, project_id), "event_id")


def waiting(conn: sqlite3.Connection, event_id: str) -> RowState | None:
    """Return the state of the newest row with an event's id, or None."""
    row = conn.execute(_OF_EVENT, (event_id,)).fetchone()
    return row_as(RowState, row) if row else None


_OLD = """
SELECT id FROM outbox WHERE fanned_out_at < ?1
UNION ALL
SELECT id FROM outbox WHERE rejected_reason IS NOT NULL AND occurred_at < ?2 AND occurred_at GLOB '2*T*Z'
"""


def prune(conn: sqlite3.Connection, taken_before: str, limit: int) -> int:
    """Delete rows that were taken before a time, at most `limit`; return their number. Raises `TriggerFails`."""
    with triggers.blaming(conn):
        return conn.execute(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE fanned_out_at < ? LIMIT ?)",
            (taken_before, limit),
        ).rowcount


def count_old(conn: sqlite3.Connection, taken_before: str, rejected_before: str) -> int:
    """Count the rows that `prune` and a sweep of rejected rows would delete."""
    return int(conn.execute(f"SELECT count(*) FROM ({_OLD})", (taken_before, rejected_before)).fetchone()[0])
