"""The tables of refusals leave nothing out: each way to change something, and each field of a webhook, has a line."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import cast

from aiohttp import hdrs, web

from almirant_webhooks.model import OPTIONS
from almirant_webhooks.web import pages
from almirant_webhooks.web.api import ROUTES
from almirant_webhooks.web.context import CONTEXT, Context
from almirant_webhooks.web.limits import Failures

from . import test_refusals, test_refused_access, test_refused_options, test_refused_sending

TABLES = (test_refusals, test_refused_access, test_refused_options, test_refused_sending)
LINES = [refusal for table in TABLES for refusal in table.REFUSALS.values()]
# `test_previews.py` has a table of its own; these begin and end sessions, or choose a language, and are pages alone.
ELSEWHERE = {"/webhooks/preview", "/webhooks/{id}/preview"}
OF_SESSIONS = {"/sign-in", "/sign-out", "/session/renew", "/language", "/portal/{link}", "/sessions/{id}/end"}


def is_asked(template: str, paths: set[str]) -> bool:
    """Tell whether a path of a table is one of a route."""
    pattern = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", template))
    return any(pattern.fullmatch(path) for path in paths)


def test_each_route_that_changes_something_is_asked_for_what_it_refuses() -> None:
    """A new one has a line in a table, or a reason not to."""
    asked = {(refusal.call[0], refusal.call[1]) for refusal in LINES if refusal.call is not None}
    changing = {(route.method, route.path.removeprefix("/api/v1")) for route in ROUTES if route.method != hdrs.METH_GET}
    left = {path for method, path in changing if not is_asked(path, {p for m, p in asked if m == method})}
    assert left == {"/webhooks/preview"}


def test_each_page_that_changes_something_is_asked_for_what_it_refuses() -> None:
    """But for those of sessions, which no command and no route of the API has."""
    app = web.Application()
    app[CONTEXT] = cast("Context", SimpleNamespace())
    pages.add(app, Failures())
    forms = {
        route.resource.canonical
        for route in app.router.routes()
        if route.method == hdrs.METH_POST and route.resource is not None
    }
    asked = {refusal.page[0] for refusal in LINES if refusal.page is not None and refusal.page[1] is not None}
    assert {path for path in forms if not is_asked(path, asked)} == ELSEWHERE | OF_SESSIONS


def test_each_field_of_a_webhook_is_refused_at_its_creation_and_at_a_change() -> None:
    """URL and secret have tests of their own in `test_refusals.py`, with more values."""
    for method in (hdrs.METH_POST, hdrs.METH_PATCH):
        fields = {line.field for line in LINES if line.call is not None and line.call[0] == method}
        assert {"events", "description", *OPTIONS} <= fields
