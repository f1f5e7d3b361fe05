"""Inserts events on behalf of people into the outbox of our own database, which rows leave once they are taken."""

from __future__ import annotations

from ...model import Conflict
from ..engine import other_content
from ..sql.duplicates import is_same
from ..sql.event import Event
from . import outbox
from .connection import WAIT
from .database_session import DatabaseSession

_TAKEN = (
    "SELECT event_type, occurred_at, body, erased_at IS NOT NULL AS erased FROM events WHERE project_id = ? AND id = ?"
)


def insert(
    session: DatabaseSession,
    *,
    project_id: str,
    event_type: str,
    payload: str,
    event_id: str | None,
    occurred_at: str | None = None,
    wait: float = WAIT,
) -> str:
    """Insert one event as `outbox.insert` does; return its id. One that was taken already is known by its id as well."""
    if event_id is not None and (taken := session.execute(_TAKEN, (project_id, event_id)).fetchone()) is not None:
        event = Event(event_id, project_id, event_type, occurred_at or taken["occurred_at"], payload)
        if not is_same(event, taken) or not (taken["erased"] or event.occurred_at == taken["occurred_at"]):
            raise Conflict(other_content(event_id, project_id), "event_id")
        return event_id
    return outbox.insert(
        session,
        project_id=project_id,
        event_type=event_type,
        payload=payload,
        event_id=event_id,
        occurred_at=occurred_at,
        wait=wait,
    )
