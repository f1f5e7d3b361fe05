"""Send deliveries again: those that are named, or all that a selection has, which can be cancelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from ..rules.principals import Principal
from ..rules.selection import Selection
from ..storage.engine import Session
from . import reach
from .database import Database


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


async def count_many(database: Database, principal: Principal, selection: Selection) -> dict[str, int]:
    """Return how many deliveries would be sent again, by webhook. Raises `NotFound`, and `Refused` for everything."""
    return await database.read(database.store.resends.count, _within_reach(principal, selection))


async def resend_many(
    database: Database,
    principal: Principal,
    selection: Selection,
    *,
    now: datetime,
    counts: Mapping[str, int] | None = None,
) -> StartedResend:
    """Begin to send again what is selected; `counts` is what `count_many` found, if it was called before.

    Raises `NotFound`, and `Refused` for everything, for no matches, and while the same is under way.
    """
    own = _within_reach(principal, selection)
    if counts is None:
        counts = await database.read(database.store.resends.count, own)
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
