"""What each event type tells a receiver: when it is sent, a sample body, and a JSON Schema of that body."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from .event_types import is_notice, sample_payload
from .texts import Text

# The sentences of Almirant's webhook page, *Available events*.
MEANINGS = {
    "work_item.created": Text("A new work item is created."),
    "work_item.updated": Text("Fields of a work item are modified (title, description, priority, etc.)."),
    "work_item.moved": Text("A work item is moved between board columns."),
    "work_item.archived": Text("A work item is archived."),
    "lead.created": Text("A new lead is created in the CRM."),
    "lead.updated": Text("Lead data is updated."),
    "lead.stage_changed": Text("A lead changes stage in the funnel."),
    "sprint.created": Text("A new sprint is created."),
    "sprint.closed": Text("A sprint is closed."),
    "almirant.webhook.failing": Text("A webhook of the project has failed everything for an hour."),
    "almirant.webhook.recovered": Text("A webhook of the project that failed everything has had a success."),
    "almirant.webhook.disabled": Text(
        "The service has disabled a webhook of the project: it failed everything for long, or its secret cannot be opened."
    ),
    "almirant.delivery.failed": Text("Deliveries of a webhook of the project have no attempts left."),
}
# What may be null in a notice.
_MAYBE_NULL = ("lastSuccessAt", "delivery", "statusCode", "cause")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def meaning(event_type: str) -> str:
    """Return the sentence that says when an event of a type is sent; of a type outside the catalogue it is not known."""
    return MEANINGS.get(event_type, Text("An event of the type {event_type}.", event_type=event_type))


def sample_body(event_type: str) -> dict[str, Any]:
    """Return the body of a request with a sample event (contract, section 2)."""
    return {
        "id": "evt_sample",
        "type": event_type,
        "timestamp": "2026-11-23T09:00:00.000Z",
        "projectId": "proj_1",
        "data": sample_payload(event_type),
    }


def body_schema(event_type: str) -> dict[str, Any]:
    """Return a JSON Schema (2020-12) of the bodies of a type.

    What stands around `data` is always there. What is in `data` is its producer's, who may leave out or add to what the
    sample has: so nothing there is required, and more is allowed.
    """
    return {
        "type": "object",
        "title": event_type,
        "description": str(meaning(event_type)),  # a schema has strings and nothing else
        "properties": {
            "id": {"type": "string", "description": "The event's id: the same for every webhook and every resend."},
            "type": {"const": event_type},
            "timestamp": {"type": "string", "format": "date-time", "description": "When it happened, in UTC."},
            "projectId": {"type": "string"},
            "data": _schema_of(sample_payload(event_type), _MAYBE_NULL if is_notice(event_type) else ()),
        },
        "required": ["id", "type", "timestamp", "projectId", "data"],
    }


def sample_text(event_type: str) -> str:
    """Return the body of a request with a sample event, indented for people."""
    return _indented(sample_body(event_type))


def schema_text(event_type: str) -> str:
    """Return the JSON Schema of a type's bodies, with the dialect that it is written in, indented for people."""
    return _indented({"$schema": DIALECT, **body_schema(event_type)})


def _indented(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _schema_of(value: Any, nullable: Collection[str] = ()) -> dict[str, Any]:
    """Return the schema that a sample's value suggests; fields with the names in `nullable` may be null."""
    if isinstance(value, dict):
        properties = {name: _schema_of(item, nullable) for name, item in value.items()}
        for name in properties.keys() & set(nullable):
            properties[name]["type"] = [properties[name]["type"], "null"]
        return {"type": "object", "properties": properties}
    if isinstance(value, list):
        return {"type": "array", "items": _schema_of(value[0]) if value else {}}
    return {"type": _TYPES[type(value)], "examples": [value]}
