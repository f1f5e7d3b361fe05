"""What `/openapi.json` says in words: the groups of routes, their parameters, and the requests that receivers get."""

from __future__ import annotations

from typing import Any

from ...rules import activity, event_schemas
from ...rules.selection import STATES
from .parsing import MAX_LIMIT

TAGS = {
    "webhooks": "The receivers of a project's events.",
    "deliveries": "One event for one webhook, with the attempts to send it.",
    "resends": "Sending many deliveries again, and replays of events.",
    "events": "What happened, and what became of it at each webhook.",
    "audit": "Who did what.",
    "event-types": "What webhooks can subscribe to.",
    "tokens": "What programs of a project come in with.",
    "portal-links": "Links to the pages of one project.",
    "activity": "How attempts went, by the time.",
    "daemons": "The daemons on one database.",
    "whoami": "Who the caller is.",
}

_TEXT: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"enum": ["true", "false"]}
# The words and the schema of each.
PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "id": ("The id of what the path is about.", _TEXT),
    "project": ("Of this project alone.", _TEXT),
    "webhook": ("Of this webhook alone.", _TEXT),
    "enabled": ("Enabled or disabled ones alone.", _FLAG),
    "state": ("In this state; `held` is pending while its webhook is disabled.", {"enum": list(STATES)}),
    "status": ("Whose last attempt ended so: `500`, `5xx`, `timeout`.", _TEXT),
    "type": ("Of this event type, or of a family (`lead.*`).", _TEXT),
    "event": ("Of the event with this id.", _TEXT),
    "cause": ("Whose last attempt failed for a cause with this text in it.", _TEXT),
    "unmatched": ("Events that matched no webhook, or those that did.", _FLAG),
    "action": ("Of this action, as `secret.revealed`.", _TEXT),
    "since": ("From this time on: `2026-01-31T09:30:00Z`, `2026-01-31`, or how long ago it was (`2h`).", _TEXT),
    "until": ("Before this time, written as `since` is.", _TEXT),
    "q": ("With this text in the body.", _TEXT),
    "test": ("Tests alone, or all but tests.", _FLAG),
    "count": ("Whether to count what is selected, up to 10,000.", _FLAG),
    "span": (
        "How far back, in whole hours, or five minutes of `1h`: 24h unless given.",
        {"enum": list(activity.SPANS)},
    ),
    "limit": ("Items of a page, 50 unless given.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
    "cursor": ("Where the page before has ended: its `next_cursor`.", _TEXT),
    "Idempotency-Key": (
        "A text of your own, new for each request: one that is repeated with it within a day is carried out once, and has "
        "the answer that the first one had.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    ),
    "If-Match": ("The `ETag` of the webhook as it was read: 412 if somebody has changed it since.", _TEXT),
}

_HEADERS = {
    "X-Almirant-Signature": "HMAC-SHA256 of the body with the secret, 64 lower-case hex digits.",
    "X-Almirant-Event": "The event type.",
    "X-Almirant-Delivery": "The delivery's id, the same in every attempt and resend.",
    "X-Almirant-Timestamp": "Unix seconds of this attempt.",
    "X-Almirant-Attempt": "The attempt's number, from 1.",
    "webhook-id": "The delivery's id, as Standard Webhooks names it.",
    "webhook-timestamp": "The same seconds.",
    "webhook-signature": "`v1,` and base64, of Standard Webhooks.",
}


def _request(event_type: str) -> dict[str, Any]:
    """Describe the request that a receiver gets for an event of a type (contract, section 3)."""
    media = {"schema": event_schemas.body_schema(event_type), "example": event_schemas.sample_body(event_type)}
    return {
        "operationId": "on" + "".join(word.capitalize() for word in event_type.replace(".", "_").split("_")),
        "summary": event_schemas.meaning(event_type),
        "security": [],
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": _TEXT, "description": words}
            for name, words in _HEADERS.items()
        ],
        "requestBody": {"required": True, "content": {"application/json": media}},
        "responses": {
            "2XX": {"description": "Taken: it is not sent again."},
            "default": {"description": "Not taken: it is sent again by the schedule."},
        },
    }


EVENTS: dict[str, Any] = {event_type: {"post": _request(event_type)} for event_type in event_schemas.MEANINGS}
