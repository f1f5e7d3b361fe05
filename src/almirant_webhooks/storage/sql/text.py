"""Looking for a text in the bodies of deliveries; what counts as the same text is in `rules.searching`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ...rules.searching import folded, has_text
from .session import Session

LOOKED_BYTES = 32 * 1024 * 1024  # of bodies that one page looks into
_AT_ONCE = 20  # bodies in memory: of an event, and what a template made of it
_BODIES = """
SELECT d.id, CAST(e.body AS BLOB), CAST(r.body AS BLOB)
FROM json_each(?1) v CROSS JOIN deliveries d ON d.id = v.value CROSS JOIN events e ON e.seq = d.event_seq
LEFT JOIN rendered_bodies r ON d.rendered = 1 AND r.delivery_id = d.id
"""


class SearchResult(NamedTuple):
    """What has a text, out of what was looked at: down to `stopped`, if the bytes were used up before the end."""

    ids: list[str]
    looked_bytes: int
    stopped: str | None


def search_bodies(conn: Session, ids: Sequence[str], text: str, max_bytes: float) -> SearchResult:
    """Look for a text in the bodies of deliveries, newest first, until more than `max_bytes` bytes of them were looked into."""
    matching_ids: list[str] = []
    looked = 0
    folded_text = folded(text)
    newest = sorted(ids, reverse=True)
    for at in range(0, len(newest), _AT_ONCE):
        some = newest[at : at + _AT_ONCE]
        for delivery, body, rendered in conn.execute(_BODIES, (json.dumps(some),)):
            if has_text(body, folded_text) or (rendered is not None and has_text(rendered, folded_text)):
                matching_ids.append(delivery)
            looked += len(body) + len(rendered or b"")
        if looked > max_bytes and at + _AT_ONCE < len(newest):
            return SearchResult(matching_ids, looked, some[-1])
    return SearchResult(matching_ids, looked, None)
