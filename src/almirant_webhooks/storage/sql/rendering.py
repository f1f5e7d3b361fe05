"""The bodies that templates make of events, kept for each delivery. Call functions that write inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Collection

from ...rules import paths, templates
from ...rules.bodies import Body
from .session import Session

# Of `deliveries d` and its event `e`: the body that is sent, NULL where the template made none; and why it made none.
BODY = "CASE WHEN d.rendered = 1 THEN (SELECT r.body FROM rendered_bodies r WHERE r.delivery_id = d.id) ELSE e.body END"
FAILED_REASON = (
    "CASE WHEN d.rendered = 1 THEN (SELECT r.failed_reason FROM rendered_bodies r WHERE r.delivery_id = d.id) END"
)
MAX_BYTES = 1024 * 1024  # of bodies after which a transaction renders no more events

_INSERT = """
INSERT INTO rendered_bodies (delivery_id, body, failed_reason) SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT (delivery_id) DO UPDATE SET body = excluded.body, failed_reason = excluded.failed_reason
"""
_TYPES = "text text text"
_FAIL = """
UPDATE deliveries SET state = 'failed', next_attempt_at = NULL, resend_requested_at = NULL, rendered = 1
WHERE id IN (SELECT value FROM json_each(?))
"""
_TO_RENDER = """
SELECT d.rowid, d.id, e.body, w.template
FROM json_each(?) v CROSS JOIN deliveries d ON d.rowid = CAST(v.value AS INTEGER)
CROSS JOIN events e ON e.seq = d.event_seq AND e.id = d.event_id CROSS JOIN webhooks w ON w.id = d.webhook_id
"""
_IDS = "(SELECT value FROM json_each(?))"


class Bodies:
    """What templates make for deliveries; `write` stores it after the deliveries are inserted.

    `failed` are those for which a template made nothing. `size` is that of the bodies, in characters.
    """

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.size = 0
        self._rows: list[tuple[str, str | None, str | None]] = []
        self._own = ""
        self._read = Body(paths.MISSING)

    def read(self, own: str) -> Body:
        """Return an event's own body, which is read once for all webhooks."""
        if own is not self._own:
            self._own, self._read = own, Body.of(own)
        return self._read

    def render(self, delivery_id: str, template: str, own: str) -> str | None:
        """Return what a template makes of an event's own body, or `own` itself if that is the same, which is not kept.

        None if it makes nothing: then the delivery has failed.
        """
        try:
            body = templates.render_value(template, self.read(own))
        except templates.CannotRender as error:
            self.failed.append(delivery_id)
            self._rows.append((delivery_id, None, str(error)))
            return None
        if body == own:
            return own
        self._rows.append((delivery_id, body, None))
        self.size += len(body)
        return body

    def write(self, conn: Session) -> None:
        """Store the bodies, and what failed as failed."""
        conn.write_rows(_INSERT, _TYPES, self._rows)
        if self.failed:
            conn.execute(_FAIL, (json.dumps(self.failed),))


def render_anew(conn: Session, rows: Collection[int]) -> dict[int, str]:
    """Make the bodies of deliveries that have none, by their rows and the templates of this moment; return those that were made.

    Without a template it is the event's own, as where a template makes the same. A delivery for which it fails again has failed, and is not resent.
    """
    bodies, made, own = Bodies(), {}, []
    for row, delivery_id, body, template in conn.execute(_TO_RENDER, (json.dumps(list(rows)),)).fetchall():
        rendered = body if template is None else bodies.render(delivery_id, template, body)
        if rendered is body:
            own.append(delivery_id)
        if rendered is not None:
            made[row] = rendered
    bodies.write(conn)
    if own:
        erase(conn, json.dumps(own))
        conn.execute(f"UPDATE deliveries SET rendered = 0 WHERE id IN {_IDS}", (json.dumps(own),))
    return made


def erase(conn: Session, delivery_ids: str) -> None:
    """Erase the bodies of deliveries; `delivery_ids` is a list of JSON."""
    conn.execute(f"DELETE FROM rendered_bodies WHERE delivery_id IN {_IDS}", (delivery_ids,))
