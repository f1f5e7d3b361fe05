"""Make and take back what lets people and programs in: links to a project, producers' tokens, the operator's token."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..model import Refused, check_producers_project, check_project_id
from ..ops import keys
from ..rules import principals, validation
from ..rules.principals import Principal, Role
from ..settings.schema import Settings
from ..storage.engine import Session
from .database import Database


class Link(NamedTuple):
    """A link to the pages of a project, and the time at which it ends, as text."""

    project_id: str
    url: str
    expires_at: str


class ProducerToken(NamedTuple):
    """A producer's new token; what is stored is a digest alone. `project_id` None is every project."""

    id: str
    project_id: str | None
    token: str


async def make_link(
    database: Database,
    principal: Principal,
    *,
    now: datetime,
    settings: Settings,
    signing_keys: keys.Keys,
    project_id: str,
    expires: str,
) -> Link:
    """Make a link that opens the pages of one project for a time (`1h`; a second to 30 days), and write it down.

    Raises `Refused` for a bad project, and where nothing serves the pages; `WrongUsage` for a bad time.
    """
    check_project_id(project_id)
    span = validation.link_lives(expires)
    if settings.admin.listen is None:
        raise Refused("admin.listen is empty: nothing serves the pages that a link could open.")
    ends = int(now.timestamp() + span.total_seconds())
    admin = Principal(Role.PROJECT_ADMIN, project_id, ends)
    url = principals.link(signing_keys.signing_key, admin, settings.pages_address())
    until = clock.text(clock.from_unix(ends))
    await database.write(
        database.store.audit.note,
        "portal_link.created",
        actor=principal.actor,
        now=now,
        project_id=project_id,
        detail=f"until {until}",
    )
    return Link(project_id, url, until)


async def make_producer_token(
    database: Database, principal: Principal, *, now: datetime, project_id: str | None
) -> ProducerToken:
    """Make a token for a producer, for one project or for all. Raises `Refused`; atomic with its audit entry."""
    if project_id is not None:
        check_producers_project(project_id)
    token = f"awp_{secrets.token_urlsafe(32)}"
    token_id = await database.write(
        database.store.tokens.add,
        digest=principals.digest(token),
        project_id=project_id,
        actor=principal.actor,
        now=now,
    )
    return ProducerToken(token_id, project_id, token)


async def revoke_producer_token(database: Database, principal: Principal, token_id: str, *, now: datetime) -> None:
    """Remove a producer's token: from the commit on it opens nothing. Raises `NotFound`; atomic with its audit entry."""
    await database.write(database.store.tokens.revoke, token_id, actor=principal.actor, now=now)


async def rotate_operator_token(database: Database, principal: Principal, *, now: datetime, settings: Settings) -> None:
    """Put a new operator's token and a new key in place of the old; sessions and links of before are over."""

    def change(conn: Session) -> None:
        database.store.audit.note(conn, "token.rotated", actor=principal.actor, now=now, project_id="")
        keys.rotate(settings.database.path)

    await database.write(change)
