"""Options of a webhook through a proxy that is in trouble at first: each holds, and the trouble costs nothing."""

from __future__ import annotations

import asyncio
import json
import ssl
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.model import Webhook
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.storage.sql import replays, webhooks

from ..conftest import Request
from ..storage.test_meeting import EVENTS, OPTIONS
from ..support.hostile import server
from ..support.proxies import relaying, saying
from ..support.service import Service

pytestmark = pytest.mark.slow

TROUBLE = b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n"


class Scene:
    """A daemon, a receiver with TLS, and a proxy between them that does not know us until it `works`."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.works = asyncio.Event()
        self.asked: list[bytes] = []  # heads of CONNECT
        self.requests: list[Request] = []
        self.most = self._here = 0  # requests at once
        self.together = 1  # how many requests wait for each other once
        self._more = asyncio.Condition()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.tls)
        self._ca_file = str(folder / "ca.pem")
        self._tunnel, self._refuse = relaying(self.asked), saying(TROUBLE)
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (self._tunnel if self.works.is_set() else self._refuse)(reader, writer)

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(Request(dict(request.headers), await request.read(), request.path_qs))
        self._here += 1
        self.most = max(self.most, self._here)
        async with self._more:
            self._more.notify_all()
            if len(self.requests) > 1:  # the first one tells that the proxy works: until then there is no other
                await self._more.wait_for(lambda: self.most >= self.together)
        self._here -= 1
        return web.Response()

    def configure(self, receiver: int, proxy: int) -> None:
        self.url = f"https://127.0.0.1:{receiver}/in"
        self.service.options["egress"] = {
            "allow_localhost": True,
            "ca_file": self._ca_file,
            "proxy": f"http://user:word@127.0.0.1:{proxy}",
        }

    def webhook(self, name: str) -> Webhook:
        return self.service.webhook(self.url, **{name: OPTIONS[name]})

    def insert(self) -> None:
        self.service.insert(*({"n": number} for number in range(EVENTS)))

    async def is_in_trouble(self) -> None:
        """Wait until the daemon says that the proxy is; nothing has cost a try, and nothing has arrived."""
        daemon = self.service.daemon
        assert daemon is not None
        await self.service.until(lambda: "wants another user or password (407)" in (daemon.not_ready() or ""))
        assert {(row["state"], row["tries"]) for row in self.service.log()} == {("pending", 0)}
        assert self.requests == []

    async def arrives(self, webhook: Webhook, count: int) -> None:
        """Let the proxy work, and wait for each delivery, by one try."""
        self.works.set()
        await self.service.until(
            lambda: len(self.service.log(webhook_id=webhook.id, state="succeeded")) == count, within=60
        )
        assert {row["tries"] for row in self.service.log()} == {1}
        assert set(Counter(request.headers["X-Almirant-Delivery"] for request in self.requests).values()) == {1}
        assert all(head.startswith(b"CONNECT 127.0.0.1:") for head in self.asked)

    @property
    def numbers(self) -> list[int]:
        """The events, in the order in which they arrived."""
        bodies = [json.loads(request.body) for request in self.requests]
        return [body["only"] if "only" in body else body["data"]["n"] for body in bodies]


@pytest.fixture
async def scene(service: Service, tmp_path: Path) -> AsyncIterator[Scene]:
    there = Scene(service, tmp_path)
    app = web.Application()
    app.router.add_post("/in", there.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=there.tls).start()
    async with server(there.serve) as port:
        there.configure(runner.addresses[0][1], port)
        service.migrate()
        yield there
        await service.close()
    await runner.cleanup()


def filter_(scene: Scene) -> None:
    """What does not match is not sent."""
    assert sorted(scene.numbers) == expected("filter")


def template(scene: Scene) -> None:
    """The bytes are those of the template."""
    bodies = sorted(request.body.decode() for request in scene.requests)
    assert bodies == [f'{{"only": {number}}}' for number in range(EVENTS)]


def headers(scene: Scene) -> None:
    """They travel inside the tunnel alone."""
    assert {request.headers["X-Team"] for request in scene.requests} == {"boards"}
    assert not any("Proxy-Authorization" in request.headers for request in scene.requests)
    assert not any(b"x-team" in head.lower() for head in scene.asked)


def rate_limit(scene: Scene) -> None:
    """Every attempt that began counts, those too that the proxy ended."""
    query = "SELECT started_at FROM attempts ORDER BY started_at"
    begun = [clock.parse(row[0]) for row in scene.service.read(lambda conn: conn.execute(query).fetchall())]
    assert len(begun) > EVENTS
    for place, at in enumerate(begun):
        assert place - bisect_left(begun, at - timedelta(seconds=1) + timedelta(milliseconds=1)) < 2


def ordered(scene: Scene) -> None:
    """The oldest one is tried again, and the others wait behind it."""
    assert scene.most == 1
    assert scene.numbers == list(range(EVENTS))


def concurrency(scene: Scene) -> None:
    """No more requests at once than it says."""
    assert scene.most in (2, 3)


CHECKS: dict[str, Callable[[Scene], None]] = {
    "filter": filter_,
    "template": template,
    "headers": headers,
    "rate_limit": rate_limit,
    "ordered": ordered,
    "concurrency": concurrency,
}


def expected(name: str) -> list[int]:
    return [number for number in range(EVENTS) if name != "filter" or number > 1]


@pytest.mark.parametrize("name", OPTIONS)
async def test_an_option_holds_through_a_proxy_that_was_in_trouble(scene: Scene, name: str) -> None:
    """All is delivered once the proxy knows us, by the first try of each, and by the option."""
    scene.together = 2 if name == "concurrency" else 1
    webhook = scene.webhook(name)
    await scene.service.start(migrating=False)
    scene.insert()
    await scene.is_in_trouble()
    await scene.arrives(webhook, len(expected(name)))
    CHECKS[name](scene)


@pytest.mark.parametrize("name", OPTIONS)
async def test_a_replay_goes_through_it_too(scene: Scene, name: str) -> None:
    """Of events that came before the webhook was created, by its option."""
    service = scene.service
    scene.together = 2 if name == "concurrency" else 1
    await service.start(migrating=False)
    scene.insert()
    query = "SELECT count(*) FROM events"
    await service.until(lambda: service.read(lambda conn: conn.execute(query).fetchone()[0]) == EVENTS)
    webhook = scene.webhook(name)
    now, kept = clock.now(), timedelta(days=30)
    selection = ReplaySelection(webhook.id, now - timedelta(hours=1))

    def begin(conn: Any) -> None:
        counts = replays.count(conn, selection, now=now, kept=kept)
        replays.start(conn, selection, counts, actor="operator", now=now)

    service.write(begin)
    await scene.is_in_trouble()
    await scene.arrives(webhook, len(expected(name)))
    CHECKS[name](scene)


async def test_a_test_goes_through_it_past_a_limit_with_template_and_headers(scene: Scene) -> None:
    """And the proxy's trouble before it was no step towards disabling the webhook."""
    service = scene.service
    service.options["delivery"] = {"disable_after": "1s", "retry_schedule": ["0s", "0s"]}
    webhook = service.webhook(scene.url, rate_limit="1/h", template=OPTIONS["template"], headers=OPTIONS["headers"])
    await service.start(migrating=False)
    scene.insert()
    await scene.is_in_trouble()
    scene.works.set()
    service.write(webhooks.request_test, webhook.id, "lead.created", '{"n": 9}', clock.now())
    await service.until(lambda: 9 in scene.numbers, within=60)
    (request,) = (request for request in scene.requests if request.headers.get("X-Almirant-Test"))
    assert (request.body, request.headers["X-Team"]) == (b'{"only": 9}', "boards")
    assert service.read(webhooks.get, webhook.id).enabled
