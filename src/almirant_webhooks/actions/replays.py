"""Send kept events to a webhook that has no delivery of them: all of a time, or a single one (contract, section 4)."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..model import NotFound, Refused
from ..rules.principals import Principal
from ..rules.replays import ReplayCount, ReplaySelection
from ..rules.texts import Text
from ..settings.schema import Settings
from ..storage.engine import Session
from . import reach
from .database import Database

LONGEST = 5.0  # seconds that people wait for a count beside others


class StartedReplay(NamedTuple):
    """A replay as it begins: the id by which it is followed as a resend of many, and what was counted."""

    id: str
    counted: ReplayCount


async def count(
    database: Database,
    principal: Principal,
    selection: ReplaySelection,
    *,
    now: datetime,
    settings: Settings,
    within: float = LONGEST,
) -> ReplayCount:
    """Return how many events would be sent, and how far back that reaches.

    It is counted in short parts, between which others have their turns, for `within` seconds at most. Raises `NotFound`, and
    `Refused` for a disabled webhook, an event type that there is none of, and what takes longer.
    """
    webhook = await reach.webhook(database, principal, selection.webhook_id)
    selection.check_event(settings.events.extra_types, webhook.project_id)
    replays, owner, kept = database.store.replays, principal.project_id, settings.retention.shortest
    parts: list[ReplayCount] = []
    begin, until = selection.since, time.monotonic() + within
    while True:
        end = await database.read_slowly(owner, replays.part_end, begin)
        is_last = end is None or (selection.until is not None and end >= selection.until)
        part = replace(selection, since=begin, until=selection.until if is_last else end)
        parts.append(await database.read_slowly(owner, replays.count, part, now=now, kept=kept))
        if end is None or is_last:
            events, erased = sum(counted["events"] for counted in parts), sum(counted["erased"] for counted in parts)
            return {**parts[0], "events": events, "erased": erased}
        if time.monotonic() >= until:
            raise Refused(
                Text("It takes more than {within:g} s to count that; narrow it by time.", within=within), "since"
            )
        begin = max(end, clock.parse(parts[0]["since"]))


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
        raise NotFound(
            Text("Project {project} has no webhook {webhook_id}.", project=project, webhook_id=webhook_id), "webhook_id"
        )
    later = database.store.later

    def change(conn: Session) -> str:
        return later.send_to(conn, webhook.project_id, event_id, webhook_id, now, actor=principal.actor)

    return await database.write(change)
