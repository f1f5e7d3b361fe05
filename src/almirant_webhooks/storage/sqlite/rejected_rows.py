"""Rows of the outbox that were rejected: which they are, and removing those that have had their time."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

from ..engine import MOST_REJECTED
from ..records import RejectedRow
from . import triggers
from .connection import encoding

_END = 2**63 - 1
MAX_REASON = 2000  # bytes that are shown; ours are shorter, and any producer may write one
_REJECTED = """
SELECT id FROM outbox WHERE rejected_reason IS NOT NULL AND id < ?1 ORDER BY id DESC LIMIT ?2
"""
_OF_PROJECT = """
SELECT outbox.id FROM json_each(?1) v CROSS JOIN outbox ON outbox.id = v.value WHERE outbox.project_id = ?2
"""
_SHOWN = f"""
SELECT outbox.id, {
    ", ".join(f"substr(CAST({name} AS BLOB), 1, 200)" for name in ("event_id", "project_id", "event_type"))
}, substr(CAST(rejected_reason AS BLOB), 1, {MAX_REASON}) FROM json_each(?1) v CROSS JOIN outbox ON outbox.id = v.value
"""


def newest(
    conn: sqlite3.Connection,
    limit: int,
    project_id: str | None = None,
    *,
    before: int | None = None,
    looked_at: int = MOST_REJECTED,
) -> tuple[list[RejectedRow], int | None]:
    """Return the newest rejected rows, of one project or all, and the row to go on before, None at the end.

    What is not UTF-8 has replacement characters. With a project at most `looked_at` rows are looked at. Payloads
    are not read: columns behind them, the reason alone, are looked at in the rows that are shown.
    """
    max_rows = looked_at if project_id is not None else limit + 1
    ids = [row[0] for row in conn.execute(_REJECTED, (_END if before is None else before, max_rows))]
    matching = ids
    if project_id is not None:
        of_project = {row[0] for row in conn.execute(_OF_PROJECT, (json.dumps(ids), project_id))}
        matching = [candidate for candidate in ids if candidate in of_project]
    page = matching[:limit]
    rows = {row[0]: row[1:] for row in conn.execute(_SHOWN, (json.dumps(page),))}
    stored = encoding(conn)
    items: list[RejectedRow] = []
    for row_id in page:
        event_id, project, event_type, reason = (value.decode(stored, "replace") for value in rows[row_id])
        items.append(
            {
                "id": row_id,
                "event_id": event_id,
                "project_id": project,
                "event_type": event_type,
                "rejected_reason": reason,
            }
        )
    if len(matching) > limit:
        return items, int(page[-1])
    return items, int(ids[-1]) if project_id is not None and len(ids) == looked_at else None


class Sweep:
    """One walk through the rejected rows, which deletes those of before a time; `removed` counts."""

    def __init__(self, before: str) -> None:
        self.removed: Counter[str] = Counter()
        self._before = before
        self._after = 0

    def step(self, conn: sqlite3.Connection, limit: int) -> bool:
        """Look at no more than `limit` rows; tell whether there is another step. Called inside a transaction.

        Raises `TriggerFails`.
        """
        seen, last = conn.execute(
            "SELECT count(*), max(id) FROM (SELECT id FROM outbox INDEXED BY outbox_rejected "
            "WHERE rejected_reason IS NOT NULL AND id > ? ORDER BY id LIMIT ?)",
            (self._after, limit),
        ).fetchone()
        if not seen:
            return False
        with triggers.blaming(conn):
            self.removed["rejected"] += conn.execute(
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox INDEXED BY outbox_rejected WHERE rejected_reason "
                "IS NOT NULL AND id > ?1 AND id <= ?2 AND occurred_at < ?3 AND occurred_at GLOB '2*T*Z')",
                (self._after, last, self._before),
            ).rowcount
        self._after = last
        return bool(seen == limit)
