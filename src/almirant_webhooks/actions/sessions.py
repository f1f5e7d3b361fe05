"""Begin a browser's session by the operator's token or a link, renew it by use, and end it."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..rules import links, principals
from ..rules.principals import Principal, Role
from ..storage.engine import Session, SessionRow
from .database import Database, Writes


class StartedSession(NamedTuple):
    """A session that has begun: the text of its cookie, of which a digest is kept, and where to go first."""

    cookie: str
    next: str


def of_row(row: SessionRow | None, signing_key: bytes, now: datetime) -> Principal | None:
    """Return who a session is, None for one that has expired or whose key was replaced."""
    if row is None or row["key_digest"] != principals.key_digest(signing_key) or row["expires_at"] <= clock.text(now):
        return None
    return Principal(
        Role(row["role"]),
        row["project_id"],
        session=row["id"],
        expires_at=clock.parse(row["expires_at"]),
        ends_at=clock.parse(row["ends_at"]),
        name=principals.named_by_link(row["actor"]),
        read_only=row["read_only"],
    )


async def start(
    database: Database, principal: Principal, *, now: datetime, signing_key: bytes, replaced: Principal | None
) -> StartedSession:
    """Begin the session of somebody who has shown a token, in place of the one that the browser had.

    The cookie is always a new one, so that nobody can prepare it. Atomic with its audit entry.
    """
    row = _row(principal, "", now, signing_key)
    return await _start(database, principal, row, _new_cookie(), now=now, link=None, replaced=replaced)


async def open_link(
    database: Database,
    text: str,
    link: links.PortalLink,
    *,
    now: datetime,
    signing_key: bytes,
    replaced: Principal | None,
    press: str = "",
) -> StartedSession:
    """Use a link up and begin the session that it is for, in place of the one that the browser had.

    Raises `Conflict` for a link that was used before. Atomic with its audit entry. `press` is what a button was given
    that may be pressed twice, in a page that only who looked at the link has.
    """
    caller = Principal(
        Role.PROJECT_ADMIN, link.project_id, name=principals.named_by_link(link.actor), read_only=link.read_only
    )
    row = _row(caller, link.actor, now, signing_key)
    used = principals.digest(text), clock.text(clock.from_unix(link.expires_at))
    cookie = links.cookie(signing_key, text, press) if press else _new_cookie()
    return await _start(database, caller, row, cookie, now=now, link=used, replaced=replaced, next_page=link.next)


def _new_cookie() -> str:
    return secrets.token_urlsafe(32)


def _row(caller: Principal, actor: str, now: datetime, signing_key: bytes) -> SessionRow:
    ends_at = now + principals.SESSION_ENDS
    return {
        "id": f"ses_{secrets.token_hex(10)}",
        "key_digest": principals.key_digest(signing_key),
        "role": caller.role.value,
        "project_id": caller.project_id,
        "actor": actor,
        "read_only": caller.read_only,
        "created_at": clock.text(now),
        "expires_at": clock.text(principals.session_expires(now, ends_at)),
        "ends_at": clock.text(ends_at),
    }


async def _start(
    database: Database,
    caller: Principal,
    row: SessionRow,
    cookie: str,
    *,
    now: datetime,
    link: tuple[str, str] | None,
    replaced: Principal | None,
    next_page: str = "",
) -> StartedSession:
    def change(conn: Session) -> None:
        if link is not None:
            database.store.sessions.use_link(conn, *link)
        old = replaced.session if replaced is not None else None
        database.store.sessions.start(conn, row, digest=principals.digest(cookie), replaces=old)
        database.store.audit.note(
            conn,
            "session.started",
            actor=caller.actor,
            now=now,
            project_id=caller.project_id or "",
            detail="may look and change nothing" if caller.read_only else "",
        )

    await database.write(change)
    return StartedSession(cookie, next_page)


async def renew(database: Writes, caller: Principal, *, now: datetime) -> Principal:
    """Let a session last longer, as it is used; return its caller, who knows the new end."""
    if caller.session is None or caller.expires_at is None or caller.ends_at is None:
        return caller
    expires_at = max(caller.expires_at, principals.session_expires(now, caller.ends_at))
    await database.write(database.store.sessions.renew, caller.session, clock.text(expires_at))
    return replace(caller, expires_at=expires_at)


async def end(database: Database, principal: Principal, session_id: str, *, now: datetime) -> None:
    """End a session, one's own or, for the operator, anybody's: from the commit on its cookie opens nothing.

    Raises `NotFound`; atomic with its audit entry.
    """

    def change(conn: Session) -> None:
        row = database.store.sessions.end(conn, session_id)
        whose = principals.named_by_link(row["actor"]) or row["role"]
        database.store.audit.note(
            conn,
            "session.ended",
            actor=principal.actor,
            now=now,
            project_id=row["project_id"] or "",
            detail="" if session_id == principal.session else f"of {whose}",
        )

    await database.write(change)
