"""Send kept events to a webhook that has no delivery of them: all of a time, or a single one (contract, section 4)."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ..model import NotFound
from ..rules.principals import Principal
from ..rules.replays import ReplayCount, ReplaySelection
from ..settings.schema import Settings
from ..storage.engine import Session
from . import reach
from .database import Database


class StartedReplay(NamedTuple):
    """A replay as it begins: the id by which it is followed as a resend of many, and what was counted."""

    id: str
    counted: ReplayCount


async def count(
    database: Database, principal: Principal, selection: ReplaySelection, *, now: datetime, settings: Settings
) -> ReplayCount:
    """Return how many events would be sent, and how far back that reaches.

    Raises `NotFound`, and `Refused` for a disabled webhook, an event type that there is none of, and too many events.
    """
    webhook = await reach.webhook(database, principal, selection.webhook_id)
    selection.check_event(settings.events.extra_types, webhook.project_id)
    return await database.read(database.store.replays.count, selection, now=now, kept=settings.retention.shortest)


async def start(
    database: Database,
    principal: Principal,
    selection: ReplaySelection,
    *,
    now: datetime,
    settings: Settings,
    counted: ReplayCount | None = None,
) -> StartedReplay:
    """Begin a replay; `counted` is what `count` found, if it was called before. Atomic with its audit entry.

    Raises what `count` does, and `Refused` for no events and while another replay of this webhook is under way.
    """
    if counted is None:
        counted = await count(database, principal, selection, now=now, settings=settings)
    else:
        await reach.webhook(database, principal, selection.webhook_id)
    started = await database.write(database.store.replays.start, selection, counted, actor=principal.actor, now=now)
    return StartedReplay(started, counted)


async def send_to(
    database: Database,
    principal: Principal,
    event_id: str,
    webhook_id: str,
    *,
    project_id: str | None = None,
    now: datetime,
) -> str:
    """Send one kept event to a webhook that has no delivery of it; return the delivery's id. Atomic with its audit entry.

    The webhook's project is the event's. Raises `NotFound`, and `Refused` for a delivery that is there, a disabled webhook
    and the event of a test.
    """
    project = reach.scope(principal, project_id)
    webhook = await reach.webhook(database, principal, webhook_id)
    if project is not None and project != webhook.project_id:
        raise NotFound(f"Project {project} has no webhook {webhook_id}.", "webhook_id")
    later = database.store.later

    def change(conn: Session) -> str:
        return later.send_to(conn, webhook.project_id, event_id, webhook_id, now, actor=principal.actor)

    return await database.write(change)
