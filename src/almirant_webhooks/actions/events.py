"""Send an event, as a producer's INSERT does."""

from __future__ import annotations

from typing import NamedTuple

from ..model import Refused
from ..rules import validation
from ..rules.event_types import CATALOGUE, check_producers_type, suggestion
from ..rules.principals import Principal
from ..settings.schema import Settings
from ..storage.engine import Session
from . import reach
from .database import Database


class Sent(NamedTuple):
    """An event's id, and what there is to say about its type, which may be nothing."""

    event_id: str
    note: str


async def send(
    database: Database,
    principal: Principal,
    *,
    settings: Settings,
    project_id: str | None,
    event_type: str,
    payload: str,
    event_id: str | None = None,
    occurred_at: str | None = None,
) -> Sent:
    """Insert an event into the outbox; `payload` is JSON text, and `occurred_at` a time as people write it.

    Raises `NotFound`, `Conflict` for an id that is used with other content, and `Refused`.
    """
    project = reach.scope(principal, project_id)
    if project is None:
        raise Refused("Name the project that the event belongs to.", "project_id")
    validation.producers_project(project)
    if event_id is not None:
        validation.event_id(event_id)
    check_producers_type(event_type)
    moment = None if occurred_at is None else validation.occurred_at(occurred_at)

    def insert(conn: Session, wait: float) -> str:
        return database.store.events.insert(
            conn,
            project_id=project,
            event_type=event_type,
            payload=payload,
            event_id=event_id,
            occurred_at=moment,
            wait=wait,
        )

    inserted = await database.write_outbox(insert)
    known = (*CATALOGUE, *settings.events.extra_types)
    unknown = f"{event_type} is not in the catalogue. {suggestion(event_type, known)} It is sent to whoever matches it."
    return Sent(inserted, "" if event_type in known else unknown)
