"""Rows of the outbox that were rejected: which they are, and removing those that have had their time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from ..engine import MOST_REJECTED
from ..records import RejectedRow
from .connection import Session, reads
from .triggers import blaming

_END = 2**63 - 1
# The innermost is bounded, whatever the project: most of the newest rows may be of others.
_NEWEST = """
SELECT id, event_id, project_id, event_type, rejected_reason FROM (
    SELECT id, left(event_id, 200), left(project_id, 200), left(event_type, 200), rejected_reason, project_id AS whole
    FROM outbox WHERE rejected_reason IS NOT NULL AND id < %s ORDER BY id DESC LIMIT %s
) v (id, event_id, project_id, event_type, rejected_reason, whole)
WHERE %s::text IS NULL OR whole = %s ORDER BY id DESC LIMIT %s
"""
_LAST = """
SELECT count(*), min(id) FROM (
    SELECT id FROM outbox WHERE rejected_reason IS NOT NULL AND id < %s ORDER BY id DESC LIMIT %s) v
"""


@reads
def newest(
    session: Session,
    limit: int,
    project_id: str | None = None,
    *,
    before: int | None = None,
    looked_at: int = MOST_REJECTED,
) -> tuple[list[RejectedRow], int | None]:
    """Return the newest rejected rows, of one project or all, and the row to go on before, None at the end.

    With a project at most `looked_at` rows are looked at.
    """
    start = _END if before is None else before
    most = looked_at if project_id is not None else limit + 1
    rows = session.run(_NEWEST, start, most, project_id, project_id, limit + 1)
    items: list[RejectedRow] = [
        {"id": row[0], "event_id": row[1], "project_id": row[2], "event_type": row[3], "rejected_reason": row[4]}
        for row in rows[:limit]
    ]
    if len(rows) > limit:
        return items, int(rows[limit - 1][0])
    if project_id is None:
        return items, None
    count, last = session.run(_LAST, start, looked_at)[0]
    return items, int(last) if count == looked_at else None


class Sweep:
    """One walk through the rejected rows, which deletes those of before a time; `removed` counts."""

    def __init__(self, before: datetime) -> None:
        self.removed: Counter[str] = Counter()
        self._before = before
        self._after = 0

    def step(self, session: Session, limit: int) -> bool:
        """Look at no more than `limit` rows; tell whether there is another step. Called inside a transaction.

        Raises `TriggerFails`.
        """
        query = "SELECT id FROM outbox WHERE rejected_reason IS NOT NULL AND id > %s ORDER BY id LIMIT %s"
        ids = [row[0] for row in session.run(query, self._after, limit)]
        if not ids:
            return False
        with blaming(session):
            self.removed["rejected"] += session.count(
                "DELETE FROM outbox WHERE id = ANY(%s) AND rejected_reason IS NOT NULL AND occurred_at < %s",
                ids,
                self._before,
            )
        self._after = ids[-1]
        return len(ids) == limit
