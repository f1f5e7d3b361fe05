"""Reads the newest events of a project, for a preview of what a webhook would get. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection

from ...rules.event_types import patterns_for
from ..engine import TakenEvent, TakenEvents
from .rows import row_as
from .session import Session

LOOKED_AT = 10_000  # events that one call looks at


def newest(conn: Session, project_id: str, patterns: Collection[str], before: int | None, limit: int, /) -> TakenEvents:
    """Return where the newest events of a project are whose types match, tests and erased ones left out; it looks at 10,000 at most."""
    last = int(conn.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])
    end = last + 1 if before is None else before
    floor = end - LOOKED_AT
    chosen = set(patterns)
    seqs: list[int] = []
    looked_back_to = None
    rows = conn.execute(
        "SELECT seq, project_id, event_type, created_at, test = 1 OR erased_at IS NOT NULL FROM events WHERE seq < ? AND seq >= ? ORDER BY seq DESC",
        (end, floor),
    )
    for seq, project, event_type, created_at, is_left_out in rows:
        looked_back_to = created_at
        if project == project_id and not is_left_out and not chosen.isdisjoint(patterns_for(event_type)):
            seqs.append(seq)
            if len(seqs) == limit:
                break
    return TakenEvents(seqs, floor if floor > 1 else None, looked_back_to)


def event(conn: Session, seq: int, /) -> TakenEvent:
    """Return an event with its own body."""
    row = conn.execute(
        "SELECT id AS event_id, event_type, created_at, body FROM events WHERE seq = ?", (seq,)
    ).fetchone()
    return row_as(TakenEvent, row)
