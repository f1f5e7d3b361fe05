"""Seal what is secret in the database with a new key, step by step while the daemon works."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ..model import Refused
from ..ops.sealing import Seals
from ..rules.principals import Principal
from ..storage.engine import Resealed, Session
from .database import Database

STEP = 100  # webhooks of one transaction


class KeyNotRead(Refused):
    """A daemon has not read the new key, and would disable each webhook that is sealed with it. It may read it soon."""


class RotatedKey(NamedTuple):
    """The id of the key with which all is sealed now, None where sealing is off; `problems` has what could not be opened."""

    key_id: str | None
    webhooks: int
    problems: dict[str, str]


async def rotate_key(
    database: Database, principal: Principal, *, now: datetime, seals: Seals, is_lost: bool = False
) -> RotatedKey:
    """Seal everything with a new key, or store it plain where sealing is off. One that was cut short goes on.

    Where the key `is_lost` it makes one if there is none, and disables each webhook of which something cannot be opened.

    A key is added to the service's own file; in a given one it has to be there. Raises `Misconfigured` without the key of
    this database, `Refused` where a given file has no new key, and `KeyNotRead` until every daemon that is alive has read it.
    Each step is atomic, and the last one with its audit entry.
    """
    if is_lost:
        seals.ensure()
    else:
        await database.read(database.store.sealed.check)
    if seals.is_on and not await database.read(database.store.sealed.is_key_new):
        if not seals.is_own:
            raise Refused(
                f"The last key in {seals.path} is the one that seals already. Add a line with a new one below it, an id and "
                '32 bytes in base64, as this prints: echo "k$(date +%s) $(openssl rand -base64 32)". Where systemd gives the '
                "file as a credential, restart the service, which has a copy of it from its start. Then run this again."
            )
        seals.add_key()
    key_id = seals.last() if seals.is_on else None

    def check_is_read(conn: Session) -> None:
        if key_id is not None and (names := database.store.daemons.without_key(conn, key_id)):
            raise KeyNotRead(
                f"Nothing is sealed with the key {key_id} until every daemon has read it, as one that has not would disable "
                f"the webhooks. These have not: {', '.join(names)}. Give the key file the same last line on each machine; "
                "restart a daemon that has the file as a credential of systemd's. Then run this again."
            )
        if key_id is not None:  # when this transaction began, a daemon may not have read it yet
            conn.seals.seal_for((key_id,))

    def reseal(conn: Session, after: str) -> Resealed:
        check_is_read(conn)
        return database.store.sealed.reseal(conn, after, STEP)

    def finish(conn: Session) -> None:
        check_is_read(conn)
        database.store.sealed.finish(conn)
        if (stored := database.store.operator_keys) is not None:
            stored.reseal(conn)
        database.store.audit.note(
            conn, "key.rotated", actor=principal.actor, now=now, project_id="", detail=f"{count} webhooks {words}"
        )

    count, problems = 0, dict[str, str]()
    reached: str | None = ""
    while reached is not None:
        step = await database.write(reseal, reached)
        count, reached = count + step.looked_at, step.reached
        problems |= step.problems
    for webhook_id in problems if is_lost else ():
        await database.write(database.store.webhooks.disable, webhook_id, now, actor=principal.actor)
    words = f"sealed with the key {key_id}" if key_id else "no longer sealed"
    await database.write(finish)
    return RotatedKey(key_id, count, problems)
