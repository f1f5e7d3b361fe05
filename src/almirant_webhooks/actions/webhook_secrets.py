"""Rotate a webhook's secret, take a new one back, and look at it."""

from __future__ import annotations

from datetime import datetime

from ..model import Secrets, StartedRotation, WrongUsage
from ..rules import validation
from ..rules.principals import Principal
from ..rules.texts import Text
from . import reach
from .database import Database


async def rotate(
    database: Database,
    principal: Principal,
    webhook_id: str,
    *,
    now: datetime,
    secret: str | None = None,
    switch_after: str | None = None,
    at_once: bool = False,
    cancel: bool = False,
) -> StartedRotation | None:
    """Begin a change to a new secret, own or generated, or bring one forward; with `cancel` take it back and return None.

    `switch_after` is a duration (`24h` unless given), 30 days at most; `at_once` is none. Raises `NotFound`, `WrongUsage`
    for what does not go together, and `Refused`. Atomic with its audit entry.
    """
    if cancel and (at_once or secret is not None or switch_after is not None):
        raise WrongUsage(Text("cancel takes the new secret back and goes with nothing else."), "cancel")
    if at_once and switch_after is not None:
        raise WrongUsage(Text("Give switch_after or now, not both."), "switch_after")
    await reach.webhook(database, principal, webhook_id)
    if cancel:
        await database.write(database.store.secrets.cancel, webhook_id, actor=principal.actor, now=now)
        return None
    new = validation.secret(secret)
    wait = validation.switch_after("0s" if at_once else switch_after or "24h")
    return await database.write(
        database.store.secrets.start, webhook_id, secret=new, switch_at=now + wait, actor=principal.actor, now=now
    )


async def reveal(database: Database, principal: Principal, webhook_id: str, *, now: datetime) -> Secrets:
    """Return the secrets as they sign now and the headers with their values; who looked is written down. Raises `NotFound`."""
    await reach.webhook(database, principal, webhook_id)
    return await database.write(database.store.secrets.reveal, webhook_id, actor=principal.actor, now=now)
