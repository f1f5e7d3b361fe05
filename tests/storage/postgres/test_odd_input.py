"""With everything in PostgreSQL too no input is an error of ours: its types take less than SQLite's do."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from almirant_webhooks.web.api import ROUTES
from almirant_webhooks.web.api.routes import Route

from ...conftest import Receiver
from ...support.postgres import new_tables
from ...support.postgres_service import EverythingInPostgres
from ...web.test_api import Api

pytestmark = pytest.mark.slow

TOKEN = "t" * 32
TEXTS = (
    "", " ", "\0", "a\0b", "\udc80", "'", "\\", "%", "_", "٣", "²", "-1", "NaN", "1e400", "9" * 400, str(2**31), str(2**63), str(2**64),
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59.999Z", "294277-01-01", "2026-02-30",
    "infinity", "now", "999999999d", "{}", "[", "null", "x" * 5000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *TEXTS,
    None,
    True,
    0,
    -1,
    1.5,
    2**31,
    2**63,
    1e300,
    [],
    {},
    ["\0"],
    [None],
    {"\0": "\0"},
    {"a": "\udc80"},
    [[[]]],
)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[EverythingInPostgres]:
    """A daemon, not started yet."""
    there = EverythingInPostgres(tmp_path, new_tables())
    there.options["admin"] = {"token": TOKEN}
    yield there
    await there.close()


def _requests(route: Route, ids: dict[str, str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Requests of a route in which one thing is odd: the path, a parameter, or a field of the body; the rest is right."""
    right = route.path.replace("{id}", ids.get(route.path.split("/")[3], "x"))
    bodies: list[dict[str, Any] | None] = [None]
    if route.body is not None:
        whole = {
            "project_id": "proj_1", "url": "https://example.com/", "events": ["*"], "event_type": "lead.created", "payload": {},
            "webhook_id": ids["webhooks"], "since": "1h", "search": "x", "name": "n",
        }  # fmt: skip
        fields = route.body.model_fields
        body = {name: value for name, value in whole.items() if name in fields}
        bodies = [{**body, name: value} for name, value in itertools.product(fields, VALUES)]
    for odd in bodies:
        yield right, odd
    for text in TEXTS:
        word = quote(text, safe="", errors="surrogatepass")
        if "{id}" in route.path and text not in ("", " "):
            yield route.path.replace("{id}", word), None
        for name in route.parameters:
            yield f"{right}?{name}={word}", None


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_no_route_of_the_api_has_an_error_of_ours(
    service: EverythingInPostgres, receiver: Receiver, route: Route
) -> None:
    """Times, numbers and texts that PostgreSQL has no value for, wherever they can stand."""
    async with aiohttp.ClientSession(await service.serve(), cookie_jar=aiohttp.DummyCookieJar()) as client:
        api = Api(service, client)
        who = {"Authorization": f"Bearer {TOKEN}"}
        webhook = service.webhook(receiver.url)
        (event,) = service.insert()
        await service.until(lambda: service.log(state="succeeded"))
        ids = {"webhooks": webhook.id, "events": event, "deliveries": service.log()[0]["delivery_id"]}
        for path, body in _requests(route, ids):
            status, said = await api.call(route.method, path, who, body)
            assert status < 500, (route.method, path, body, said)
