"""Rows of the outbox as every engine has them: their columns, and those that an event is inserted by."""

from __future__ import annotations

OUTBOX_COLUMNS = {
    "outbox": {
        "id",
        "event_id",
        "project_id",
        "event_type",
        "payload",
        "occurred_at",
        "fanned_out_at",
        "rejected_reason",
    },
    "outbox_meta": {"id", "schema_version", "database_id", "batch"},
}


def content_of(event_type: str, payload: str, occurred_at: str | None) -> dict[str, str]:
    """Return what an event is compared by with one of its id: an explicit time is part of it."""
    content = {"event_type": event_type, "payload": payload}
    return content if occurred_at is None else {**content, "occurred_at": occurred_at}


def columns_of(project_id: str, event_id: str | None, content: dict[str, str]) -> dict[str, str]:
    """Return the columns that an event is inserted by; what is left out the outbox makes."""
    columns = {"project_id": project_id, **content}
    return columns if event_id is None else {**columns, "event_id": event_id}
