"""Rotate a webhook's secret, take a new one back, and look at it."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..model import Secrets, StartedRotation, WrongUsage
from ..rules import validation
from ..rules.principals import Principal, digest
from ..rules.texts import Text
from ..storage.engine import KEYS_KEPT, KeyedRow, Session
from . import reach
from .database import Database, Writes

PROMISED_FOR = timedelta(minutes=1)  # in which the page has to follow
_NEW, _ALL = "new", "all"


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


async def promise(database: Writes, principal: Principal, webhook_id: str, *, is_new: bool, now: datetime) -> None:
    """Let the next page of this caller show the secret once, whichever daemon answers it: a new one alone, or all that sign.

    Raises `Conflict` where the same is promised at the same moment.
    """
    row = KeyedRow(1, "", _NEW if is_new else _ALL)
    place = _place(principal, webhook_id)

    def change(session: Session) -> None:
        database.store.request_keys.take(session, *place, now - KEYS_KEPT)
        database.store.request_keys.note(session, *place, row, now)

    await database.write(change)


async def reveal_promised(
    database: Database, principal: Principal, webhook_id: str, *, now: datetime
) -> tuple[Secrets, bool] | None:
    """Return the secrets that were promised to this caller, and whether a new one; None where nothing was, or it was kept.

    As `reveal` does it, in one transaction with the end of the promise.
    """
    place = *_place(principal, webhook_id), now - PROMISED_FOR
    if not await database.read(database.store.request_keys.find, *place):
        return None

    def change(session: Session) -> tuple[Secrets, bool] | None:
        promised = database.store.request_keys.take(session, *place)
        if not promised:
            return None
        found = database.store.secrets.reveal(session, webhook_id, actor=principal.actor, now=now)
        if promised[0].content == _NEW:
            return Secrets(found.next or found.current), True
        return found, False

    return await database.write(change)


def _place(principal: Principal, webhook_id: str) -> tuple[str, str]:
    """Return under whose name it is noted, which no key of a request is, and for what."""
    return f"secrets {principal.id}", digest(webhook_id)
