"""Sessions of browsers, begun without a link or a form."""

from __future__ import annotations

import time

from almirant_webhooks import clock
from almirant_webhooks.actions import sessions
from almirant_webhooks.cli.run_action import CommandDatabase, run_action
from almirant_webhooks.rules import links
from almirant_webhooks.rules.links import PortalLink
from almirant_webhooks.rules.principals import Principal, Role
from almirant_webhooks.web.sessions import COOKIE

from .service import Service


def cookie(service: Service, project: str | None, *, actor: str = "", read_only: bool = False) -> dict[str, str]:
    """Begin a session of a project's admin, or of the operator without a project; return the header that names it."""
    settings, now = service.settings(), clock.now()
    key = service.keys().signing_key
    database = CommandDatabase(settings)
    if project is None:
        operator = Principal(Role.OPERATOR)
        started = run_action(sessions.start(database, operator, now=now, signing_key=key, replaced=None))
    else:
        link = PortalLink(project, int(time.time()) + 60, actor, read_only)
        text = links.issue(key, link)
        started = run_action(sessions.open_link(database, text, link, now=now, signing_key=key, replaced=None))
    return {"Cookie": f"{COOKIE}={started.cookie}"}


def link(service: Service, project: str = "proj_1", expires_in: int = 60, **more: object) -> str:
    """Return the path of a link to a project."""
    made = PortalLink(project, int(time.time()) + expires_in, **more)  # type: ignore[arg-type]
    return f"/portal/{links.issue(service.keys().signing_key, made)}"
