"""Make and take back what lets people and programs in: links to a project, tokens of producers, projects, the operator."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..model import Refused
from ..ops import keys
from ..rules import links, principals, validation
from ..rules.principals import Principal
from ..rules.texts import Text
from ..settings.schema import Settings
from ..storage.engine import ProjectToken, Session
from . import reach
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


class NewProjectToken(ProjectToken):
    """An API token of a project as it is made, the one time that the token itself is beside it."""

    token: str


async def make_link(
    database: Database,
    principal: Principal,
    *,
    now: datetime,
    settings: Settings,
    signing_keys: keys.OperatorKeys,
    project_id: str,
    expires: str,
    actor: str | None = None,
    read_only: bool = False,
    leads_to: str | None = None,
) -> Link:
    """Make a link that opens the pages of one project once, within a time (`15m`; a second to a day), and write it down.

    `actor` is the person that it is for, `leads_to` a page; who comes by a `read_only` one changes nothing.
    Raises `Refused` for a bad project, name or page, and where nothing serves the pages; `WrongUsage` for a bad time.
    """
    validation.project_id(project_id)
    span = validation.link_lives(expires)
    whose = "" if actor is None else links.check_actor(actor)
    next_page = "" if leads_to is None else links.check_next(leads_to)
    if settings.admin.listen is None:
        raise Refused("admin.listen is empty: nothing serves the pages that a link could open.")
    ends = int(now.timestamp() + span.total_seconds())
    link = links.PortalLink(project_id, ends, whose, read_only, next_page)
    url = links.url(signing_keys.signing_key, link, settings.pages_address())
    until = clock.text(clock.from_unix(ends))
    # A name may be any text, so it is the last: what stands before it is no part of one.
    told = [f"until {until}", *(["to look only"] if read_only else []), *([f"for {whose}"] if whose else [])]

    def change(conn: Session) -> Link:
        database.store.audit.note(
            conn,
            "portal_link.created",
            actor=principal.actor,
            now=now,
            project_id=project_id,
            detail=", ".join(told),
        )
        return Link(project_id, url, until)

    return await database.write(change)


async def make_producer_token(
    database: Database, principal: Principal, *, now: datetime, project_id: str | None
) -> ProducerToken:
    """Make a token for a producer, for one project or for all. Raises `Refused`; atomic with its audit entry."""
    if project_id is not None:
        validation.producers_project(project_id)
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


async def make_project_token(
    database: Database, principal: Principal, *, now: datetime, project_id: str | None, name: str | None
) -> NewProjectToken:
    """Make an API token of a project, for what its admin may do there; without a name it gets one.

    Raises `NotFound` for another's project, `Conflict` for a name that is taken, and `Refused`, also for a token that would
    make another one: what is revoked would live on in it. Atomic with its audit entry.
    """
    project = reach.scope(principal, project_id)
    if principal.token_id is not None:
        raise Refused(
            Text("A project's token makes no further tokens. Make it on the pages, or with the operator's token.")
        )
    if project is None:
        raise Refused(Text("Name the project that the token is for."), "project_id")
    validation.project_id(project)
    checked = None if name is None else validation.token_name(name)

    def change(conn: Session) -> NewProjectToken:
        token = f"awa_{secrets.token_urlsafe(32)}"
        row = database.store.project_tokens.add(
            conn, digest=principals.digest(token), project_id=project, name=checked, actor=principal.actor, now=now
        )
        return {**row, "token": token}

    return await database.write(change)


async def revoke_project_token(database: Database, principal: Principal, token_id: str, *, now: datetime) -> None:
    """Remove an API token of a project: from the commit on it opens nothing.

    Raises `NotFound`; atomic with its audit entry.
    """
    row = await database.read(database.store.project_tokens.get, token_id)
    reach.check(principal, row["project_id"], f"API token {token_id}")
    await database.write(database.store.project_tokens.revoke, token_id, actor=principal.actor, now=now)


async def rotate_operator_token(
    database: Database, principal: Principal, *, now: datetime, settings: Settings
) -> str | None:
    """Put a new operator's token and a new key in place of the old; sessions and links of before are over.

    Return the token where nobody can read it afterwards.
    """

    def change(conn: Session) -> str | None:
        database.store.audit.note(conn, "token.rotated", actor=principal.actor, now=now, project_id="")
        if (stored := database.store.operator_keys) is not None:
            token: str = stored.rotate(conn)
            return token
        keys.rotate(settings.database.path)
        return None

    return await database.write(change)
