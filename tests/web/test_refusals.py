"""What no face takes: numbers written otherwise, names that a route does not have, and what is no text.

`tests/actions` has the tables of what all faces refuse with one sentence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from almirant_webhooks.web.api import ROUTES

from ..support.service import Service
from .test_api import Api
from .test_pages import Pages

URL = "https://example.com/in"
NEW = {"project_id": "proj_1", "url": URL, "events": ["*"]}
EVENT = {"project_id": "proj_1", "event_type": "lead.created", "payload": {}}


class Doors:
    """One service with its three doors, each used by the operator."""

    def __init__(self, service: Service, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.client = client
        self.api = Api(service, client)
        self.pages = Pages(service, client)
        self.pages.cookie(None)  # the beginning of a session is an entry in the audit trail
        self.shell = service.shell()
        self.webhook = service.webhook(URL).id

    async def command(self, *words: str) -> tuple[int, str]:
        """Run a command that is refused; return its exit code and what it said."""

        def run() -> tuple[int, str]:
            try:
                return 1, self.shell.ours(*words, code=1)
            except AssertionError:
                return 2, self.shell.ours(*words, code=2)

        return await asyncio.to_thread(run)

    async def page(self, path: str, form: dict[str, Any] | None) -> tuple[int, str]:
        if form is None:
            async with self.client.get(path, headers=self.pages.cookie(None)) as answer:
                return answer.status, await answer.text()
        status, _, text = await self.pages.post(path, None, **form)
        return status, text


@pytest.fixture
async def doors(service: Service) -> AsyncIterator[Doors]:
    """A daemon that serves its API and its pages, and commands beside it."""
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Doors(service, client)


NUMBERS = ("0000500000", "00002009223372036854775808", "007", "+5", "5.0", "5e1", "1_0", " 5", "٥", "²", "-1", "0x5", "9" * 400)  # fmt: skip


LISTS = [route.path.removeprefix("/api/v1") for route in ROUTES if "limit" in route.parameters]
TURNED = ("/webhooks", "/deliveries", "/resends", "/events", "/audit")  # pages that are turned


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", LISTS)
async def test_a_number_is_written_in_one_way(shared_doors: Doors, path: str) -> None:
    """No list takes a limit with leading zeros, of another script or beyond any; a number as cursor neither."""
    assert set(TURNED) < set(LISTS)
    for number in NUMBERS:
        status, problem = await shared_doors.api.call("GET", f"/api/v1{path}?limit={quote(number)}")
        assert (status, problem["field"]) == (422, "limit"), number
        status, problem = await shared_doors.api.call("GET", f"/api/v1{path}?cursor={quote(number)}")
        assert (status, problem["field"]) == (422, "cursor"), number
        status = 200 if path == "/webhooks" else 422  # the other lists say so where they have no such place
        for name in ("page", "before") if path in TURNED else ():
            assert (await shared_doors.page(f"{path}?{name}={quote(number)}", None))[0] == status, (name, number)
    assert (await shared_doors.api.call("GET", f"/api/v1{path}?limit=200"))[0] == 200


async def test_a_parameter_that_a_route_does_not_have_does_nothing_silently(doors: Doors) -> None:
    """`dry_run` in the URL is no dry run: it is refused, and nothing is sent."""
    status, problem = await doors.api.call("POST", "/api/v1/resends?dry_run=true", None, {"project_id": "proj_1"})
    assert (status, problem["field"]) == (422, "dry_run")
    for method, path in (("GET", f"/webhooks/{doors.webhook}"), ("DELETE", f"/webhooks/{doors.webhook}"), ("GET", "/whoami")):  # fmt: skip
        status, problem = await doors.api.call(method, f"/api/v1{path}?force=1")
        assert (status, problem["field"]) == (422, "force")
    for path in ("/api/v1/deliveries?state=failed&state=pending", "/deliveries?state=failed&state=pending"):
        async with doors.client.get(path, headers=doors.api.operator() | doors.pages.cookie(None)) as answer:
            assert (answer.status, "state is given more than once" in await answer.text()) == (422, True)


NO_TEXT = {"a NUL": b"%00", "bytes that are not UTF-8": b"\xff", "half of a pair": b"\xed\xa0\x80"}


@pytest.mark.parametrize("what", NO_TEXT)
async def test_what_is_no_text_is_refused_wherever_it_stands(doors: Doors, what: str) -> None:
    """In a path, a parameter, its name, a body or a form: a sentence, never a 500."""
    assert doors.service.daemon is not None
    assert doors.service.daemon.address is not None
    host, port = doors.service.daemon.address
    odd = NO_TEXT[what]
    lists = ("/webhooks", "/deliveries", "/resends", "/events", "/audit", "/rejected", "/sign-in")
    names = (
        "project",
        "webhook",
        "state",
        "q",
        "text",
        "cause",
        "event_id",
        "since",
        "cursor",
        "before",
        "next",
        "done",
    )
    targets = [f"{path}?{name}=".encode() + odd for path in (*lists, *(f"/api/v1{one}" for one in lists[:5])) for name in names]  # fmt: skip
    targets += [f"/api/v1/{path}/".encode() + odd for path in ("webhooks", "deliveries", "resends", "events")]
    targets += [f"/{path}".encode() + odd for path in ("webhooks/wh_", "deliveries/", "resends/rsd_", "events/", "static/", "portal/")]  # fmt: skip
    targets += [b"/deliveries?" + odd + b"=1"]
    for target in targets:
        reader, writer = await asyncio.open_connection(host, port)
        token = doors.api.operator()["Authorization"]
        writer.write(b"GET %s HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: %s\r\nConnection: close\r\n\r\n" % (target, host.encode(), port, token.encode()))  # fmt: skip
        status = int((await reader.readline()).split()[1])
        assert status in (400, 404, 422), (target, status)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("odd", ["\0", "\ud800"])
async def test_a_body_that_holds_what_is_no_text_is_refused_with_its_field(doors: Doors, odd: str) -> None:
    """In a list as well; a payload is passed on as it is spelled, and the INSERT's rules are for it."""
    for path, body, field in (
        ("/webhooks", {**NEW, "events": [odd]}, "events"),
        ("/webhooks", {**NEW, "project_id": odd}, "project_id"),
        ("/resends", {"webhook_id": f"wh_{odd}"}, "webhook_id"),
        ("/resends", {"event_type": odd}, "event_type"),
        ("/events", {**EVENT, "event_type": odd}, "event_type"),
    ):
        status, problem = await doors.api.call("POST", f"/api/v1{path}", None, body)
        assert (status, problem["field"]) == (422, field), problem
    raw = json.dumps({**EVENT, "payload": {"text": odd}}).encode()
    assert (await doors.api.call("POST", "/api/v1/events", None, raw))[0] == 202
    if odd == "\0":
        for form in ({"token": odd}, {"token": ["a", "b"]}):
            assert (await doors.pages.post("/sign-in", None, **form))[0] == 400
