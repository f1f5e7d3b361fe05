"""Overwrites payloads in rows of the outbox. Call the functions inside a transaction; they raise `TriggerFails`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from ...rules.erasing import ERASED_PAYLOAD
from ...rules.searching import folded, has_text
from .connection import Session, reads
from .triggers import blaming

MOST_BYTES = 1024 * 1024  # a larger payload is not looked into
LOOKED_AT = 20  # rejected rows in one step
_SET = "UPDATE outbox SET payload = %s"
_IS_CONTENT = "NOT starts_with(payload, %s)"
_REJECTED = """
SELECT id, project_id, CASE WHEN octet_length(payload) <= %s THEN payload END,
    occurred_at >= coalesce(%s::timestamptz, '-infinity')
FROM outbox WHERE rejected_reason IS NOT NULL AND id > %s ORDER BY id LIMIT %s
"""
_OLD = f"""
SELECT fanned_out_at, id, {_IS_CONTENT} FROM outbox
WHERE fanned_out_at < %s AND (fanned_out_at, id) > (%s::timestamptz, %s) ORDER BY fanned_out_at, id LIMIT %s
"""


def erase_of_events(session: Session, events: Iterable[tuple[str, str]]) -> int:
    """Overwrite the payloads of events that are in the database, each a project and an id; return of how many rows.

    A row that was not read yet is then a duplicate of its event, and is taken as one.
    """
    query = f"{_SET} WHERE project_id = %s AND event_id = %s AND {_IS_CONTENT}"
    with blaming(session):
        return sum(session.count(query, ERASED_PAYLOAD, *event, ERASED_PAYLOAD) for event in events)


def erase_rows(session: Session, ids: Sequence[int]) -> int:
    """Overwrite the payloads of rows; return of how many."""
    with blaming(session):
        return overwrite(session, ids)


def overwrite(session: Session, ids: Sequence[int]) -> int:
    """Do the same; raises the driver's errors."""
    return session.count(f"{_SET} WHERE id = ANY(%s) AND {_IS_CONTENT}", ERASED_PAYLOAD, list(ids), ERASED_PAYLOAD)


@reads
def rejected_of(session: Session, event_id: str, project_id: str) -> list[int]:
    """Return the rejected row of an event's id in a project, if there is one: it is in no event."""
    query = "SELECT id FROM outbox WHERE project_id = %s AND event_id = %s AND rejected_reason IS NOT NULL"
    return [row[0] for row in session.run(query, project_id, event_id)]


@reads
def rejected_with_text(
    session: Session, text: str, project_id: str | None, since: datetime | None, after: int
) -> tuple[list[int], int | None]:
    """Return which of the next few rejected rows behind a row have a text, and the row to go on behind, None at the end."""
    rows = session.run(_REJECTED, MOST_BYTES, since, after, LOOKED_AT)
    wanted = folded(text)
    matching = [
        row_id
        for row_id, project, payload, is_since in rows
        if payload is not None and project_id in (None, project) and is_since and has_text(payload.encode(), wanted)
    ]
    return matching, rows[-1][0] if len(rows) == LOOKED_AT else None


@reads
def count_old(session: Session, before: datetime) -> int:
    """Count the rows whose payloads `OldPayloads` would overwrite."""
    query = f"SELECT count(*) FROM outbox WHERE {_IS_CONTENT} AND fanned_out_at < %s"
    return int(session.run(query, ERASED_PAYLOAD, before)[0][0])


class OldPayloads:
    """A walk that overwrites the payloads of rows that were taken before a time; `removed` counts."""

    def __init__(self, before: datetime) -> None:
        self.removed: Counter[str] = Counter()
        self._before = before
        self._reached: tuple[object, int] = ("-infinity", 0)

    def step(self, session: Session, limit: int) -> bool:
        """Look at no more than `limit` rows; return whether there is another step."""
        rows = session.run(_OLD, ERASED_PAYLOAD, self._before, *self._reached, limit)
        if not rows:
            return False
        self.removed["payloads"] += erase_rows(session, [row_id for _, row_id, is_content in rows if is_content])
        self._reached = (rows[-1][0], rows[-1][1])
        return len(rows) == limit
