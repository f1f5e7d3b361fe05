"""Send deliveries again: those that are named, or all that a selection has, which can be cancelled."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from ..model import NotFound, Refused
from ..rules.principals import Principal
from ..rules.selection import Selection
from ..rules.texts import Text
from ..storage.engine import CountedPart, Session
from . import reach
from .database import Database

MOST_COUNTED = 100_000  # deliveries; beyond it there are "more than 100,000"
MOST_LOOKED_AT = 1_000_000
NONE_YET = Text(
    "None was found in the time that a count may take; narrow it by time, webhook, state or status and count again."
)
LONGEST = 5.0  # seconds that a count goes on


class Counted(NamedTuple):
    """How many deliveries were counted, by webhook, and the webhooks that were not counted to their end."""

    by_webhook: Mapping[str, int]
    rest: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many there are at least."""
        return sum(self.by_webhook.values())

    @property
    def to_start(self) -> dict[str, int]:
        """The counts with which a resend begins: of what was not counted, each webhook has what was found so far."""
        return {**self.by_webhook, **{webhook: self.by_webhook.get(webhook, 0) for webhook in self.rest}}


class StartedResend(NamedTuple):
    """A resend of many as it begins: its id, and how many deliveries it is for, by webhook."""

    id: str
    counts: Mapping[str, int]


async def resend(database: Database, principal: Principal, delivery_ids: Sequence[str], *, now: datetime) -> int:
    """Ask for one more attempt of each delivery as soon as none is in flight; return for how many none waited already.

    Raises `NotFound`, and `Refused` for a disabled webhook's; then none of them is sent again.
    """
    await reach.check_deliveries(database, principal, delivery_ids)

    deliveries = database.store.deliveries

    def change(conn: Session) -> int:
        return sum(deliveries.request_resend(conn, each, now, actor=principal.actor) for each in delivery_ids)

    return await database.write(change)


class Selected(NamedTuple):
    """What became of deliveries that were selected: how many are sent again, wait already, and cannot be sent, and why not."""

    asked: int
    waited: int
    refused: tuple[str, ...]


async def resend_selected(
    database: Database, principal: Principal, delivery_ids: Sequence[str], *, now: datetime
) -> Selected:
    """Ask for one more attempt of each delivery that can be sent again, and leave out the others.

    Raises `NotFound`; then none of them is sent again.
    """
    await reach.check_deliveries(database, principal, delivery_ids)

    def change(conn: Session) -> Selected:
        asked: list[bool] = []
        refused: list[str] = []
        for each in delivery_ids:
            try:
                asked.append(database.store.deliveries.request_resend(conn, each, now, actor=principal.actor))
            except NotFound:
                raise
            except Refused as reason:
                refused.append(reason.message)
        return Selected(sum(asked), len(asked) - sum(asked), tuple(refused))

    return await database.write(change)


async def count_many(database: Database, principal: Principal, selection: Selection) -> dict[str, int]:
    """Return how many deliveries would be sent again, by webhook. Raises `NotFound`, and `Refused` for everything."""
    return await database.read(database.store.resends.count, _within_reach(principal, selection))


async def count_some(database: Database, principal: Principal, selection: Selection) -> Counted:
    """Count as `count_many` does for people who wait beside others: in parts, up to `MOST_COUNTED`, and not for long.

    Raises `NotFound`, and `Refused` for everything.
    """
    own = _within_reach(principal, selection)
    counts: dict[str, int] = {}
    total, looked_at, place, until = 0, 0, None, time.monotonic() + LONGEST
    while True:
        part: CountedPart = await database.read_slowly(
            principal.project_id, database.store.resends.count_part, own, place
        )
        for webhook, count in part.counts.items():
            counts[webhook] = counts.get(webhook, 0) + count
        total, looked_at, place = total + sum(part.counts.values()), looked_at + part.looked_at, part.place
        if place is None:
            return Counted(counts, ())
        if total > MOST_COUNTED or looked_at >= MOST_LOOKED_AT or time.monotonic() >= until:
            return Counted(counts, place.webhooks)


async def resend_many(
    database: Database,
    principal: Principal,
    selection: Selection,
    *,
    now: datetime,
    counted: Counted | None = None,
) -> StartedResend:
    """Begin to send again what is selected; `counted` is what was found, if it was counted before.

    Raises `NotFound`, and `Refused` for everything, for no matches, and while the same is under way.
    """
    own = _within_reach(principal, selection)
    if counted is None:
        counted = await count_some(database, principal, selection)
    if counted.rest and not counted.total:
        raise Refused(NONE_YET)
    counts = counted.to_start
    return StartedResend(
        await database.write(database.store.resends.start, own, counts, actor=principal.actor, now=now), counts
    )


async def cancel_many(database: Database, principal: Principal, resend_id: str, *, now: datetime) -> None:
    """Send nothing more of a resend of many; what is in flight ends. Raises `NotFound`, and `Refused` once it is over."""
    await reach.bulk_resend(database, principal, resend_id)
    await database.write(database.store.resends.cancel, resend_id, actor=principal.actor, now=now)


def _within_reach(principal: Principal, selection: Selection) -> Selection:
    own = replace(selection, project_id=reach.scope(principal, selection.project_id))
    own.check_is_narrow()
    return own
