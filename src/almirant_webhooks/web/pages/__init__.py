"""The web pages: what a project's admin and the operator see under Settings > Webhooks."""

from __future__ import annotations

from aiohttp import web

from ..context import CONTEXT
from ..limits import Failures
from . import (
    assets,
    audit,
    deliveries,
    events,
    page,
    replays,
    resends,
    signing_in,
    webhook_actions,
    webhook_form,
    webhooks,
)

__all__ = ["add"]


def add(app: web.Application, failures: Failures) -> None:
    """Add the pages' routes, and have errors shown as pages."""
    app[CONTEXT].error_page = page.error
    for part in (assets, webhooks, webhook_form, webhook_actions, replays, deliveries, resends, events, audit):
        part.add(app)
    signing_in.add(app, failures)
