"""Send deliveries again: those that are named, or all that filters match, which can be cancelled."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..rules import selection
from ..rules.principals import Principal
from ..storage.sqlite import deliveries
from ..storage.sqlite import resends as storage
from . import reach
from .database import Database


class StartedResend(NamedTuple):
    """A resend of many as it begins: its id, and how many deliveries it is for, by webhook."""

    id: str
    counts: Mapping[str, int]


async def resend(database: Database, who: Principal, delivery_ids: Sequence[str], *, now: datetime) -> int:
    """Ask for one more attempt of each delivery as soon as none is in flight; return for how many none waited already.

    Raises `NotFound`, and `Refused` for a disabled webhook's; then none of them is sent again.
    """
    await reach.check_deliveries(database, who, delivery_ids)

    def change(conn: sqlite3.Connection) -> int:
        return sum(deliveries.request_resend(conn, each, now, actor=who.actor) for each in delivery_ids)

    return await database.write(change)


async def count_many(database: Database, who: Principal, filters: Mapping[str, Any]) -> dict[str, int]:
    """Return how many deliveries would be sent again, by webhook. Raises `NotFound`, and `Refused` without filters."""
    return await database.read(storage.count, _within_reach(who, filters))


async def resend_many(
    database: Database,
    who: Principal,
    filters: Mapping[str, Any],
    *,
    now: datetime,
    counts: Mapping[str, int] | None = None,
) -> StartedResend:
    """Begin to send again what the filters match; `counts` is what `count_many` found, if it was called before.

    Raises `NotFound`, and `Refused` without filters, for no matches, and while the same is under way.
    """
    own = _within_reach(who, filters)
    if counts is None:
        counts = await database.read(storage.count, own)
    return StartedResend(await database.write(storage.start, own, counts, actor=who.actor, now=now), counts)


async def cancel_many(database: Database, who: Principal, resend_id: str, *, now: datetime) -> None:
    """Send nothing more of a resend of many; what is in flight ends. Raises `NotFound`, and `Refused` once it is over."""
    await reach.bulk_resend(database, who, resend_id)
    await database.write(storage.cancel, resend_id, actor=who.actor, now=now)


def _within_reach(who: Principal, filters: Mapping[str, Any]) -> dict[str, Any]:
    own = {**filters, "project_id": reach.scope(who, filters.get("project_id"))}
    selection.check_is_narrowed(own)
    return own
