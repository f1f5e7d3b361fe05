"""Events that webhooks filter out: the verdicts of a fan-out, kept with their event. Call functions inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from ...rules.bodies import Body
from ...rules.filters import Compiled
from .session import Session

Verdict = tuple[int, str, str]  # the event's row, the webhook, and the condition that did not hold
_INSERT = """
INSERT INTO filtered_out (event_seq, webhook_id, condition) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
"""
_TYPES = "int text text"
# Of two columns in a list SQLite looks up both by an index other than the primary key alone.
_DELETE = "DELETE FROM filtered_out INDEXED BY filtered_out_of_a_webhook WHERE (webhook_id, event_seq) IN"
_ERASE = f"""
{_DELETE} (
    SELECT f.webhook_id, f.event_seq FROM json_each(?) v CROSS JOIN filtered_out f ON f.event_seq = CAST(v.value AS INTEGER)
    WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event_seq = CAST(v.value AS INTEGER)) LIMIT ?)
"""
ERASE_OF_A_WEBHOOK = f"{_DELETE} (SELECT webhook_id, event_seq FROM filtered_out WHERE webhook_id = ? LIMIT ?)"


def sift(
    filters: Mapping[str, Compiled],
    webhooks: Sequence[str],
    body: str,
    event_seq: int,
    verdicts: list[Verdict],
    read: Callable[[str], Body],
) -> Sequence[str]:
    """Return the webhooks that get an event with such a body, and add the verdict of each other one.

    The body is read by `read`, once, and only if a webhook has a filter.
    """
    if not filters or filters.keys().isdisjoint(webhooks):
        return webhooks
    read_body = read(body)
    wanting = []
    for webhook in webhooks:
        filter_ = filters.get(webhook)
        condition = None if filter_ is None else filter_.unmet(read_body)
        if condition is None:
            wanting.append(webhook)
        else:
            verdicts.append((event_seq, webhook, condition))
    return wanting


def keep(conn: Session, verdicts: Sequence[Verdict]) -> None:
    """Write verdicts down; their events have to be there."""
    if verdicts:
        conn.write_rows(_INSERT, _TYPES, verdicts)


def erase(conn: Session, event_seqs: Sequence[int], limit: int) -> int:
    """Erase up to `limit` verdicts of those events that have no delivery; return how many."""
    return conn.execute(_ERASE, (json.dumps(list(event_seqs)), limit)).rowcount
