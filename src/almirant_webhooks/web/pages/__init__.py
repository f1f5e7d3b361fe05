"""The web pages: what a project's admin and the operator see under Settings > Webhooks."""

from __future__ import annotations

from aiohttp import web

from ..context import CONTEXT
from ..limits import Failures
from . import (
    activity,
    assets,
    audit,
    deliveries,
    delivery,
    event_types,
    events,
    language,
    look,
    page,
    portal,
    replays,
    resends,
    sessions,
    signing_in,
    tokens,
    webhook_actions,
    webhook_form,
    webhook_list,
    webhooks,
)

__all__ = ["add"]


def add(app: web.Application, failures: Failures) -> None:
    """Add the pages' routes, and have errors shown as pages."""
    app[CONTEXT].error_page = page.error
    app[CONTEXT].ask_again = signing_in.ask_again
    for part in (
        assets,
        look,
        webhook_list,
        activity,
        webhooks,
        webhook_form,
        webhook_actions,
        replays,
        deliveries,
        delivery,
        resends,
        events,
        event_types,
        audit,
        tokens,
        portal,
        sessions,
        language,
    ):
        part.add(app)
    signing_in.add(app, failures)
