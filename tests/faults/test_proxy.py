"""Our proxy is down, or wants another password: claiming pauses, attempts are interrupted, and nobody's tries are burnt."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from almirant_webhooks.delivery.network import HOLD, Outage
from almirant_webhooks.model import Outcome
from almirant_webhooks.sending import proxy_answers
from almirant_webhooks.sending.proxy_answers import NoTunnel, ours, refusal

from ..support.hostile import server
from ..support.ports import free_port
from ..support.proxies import relaying, saying
from ..support.service import Service
from .test_outage import ended, outcomes

HANGS, GONE = ours(proxy_answers.NO_ANSWER), ours(f"{proxy_answers.NO_CONNECTION}: connection refused")


@pytest.mark.parametrize("end", [GONE, refusal(407)], ids=["no connection", "407"])
def test_a_proxy_that_is_gone_or_does_not_know_us_is_an_outage_at_once(end: NoTunnel) -> None:
    """One host is enough: no receiver can have brought that about. What it cost is free, and any answer ends it."""
    outage = Outage()
    assert outage.observe(ended("a", end.outcome, end.cause), 0.0) == []
    assert outage.allowed_starts(256, 0, 0.0) == 0
    assert outcomes(outage.evaluate(0, 0.0)) == [("interrupted", True)]
    assert outage.reason == f"no host can be reached through egress.proxy: {end.cause}"
    assert outage.allowed_starts(256, 0, 0.0) == 1
    outage.observe(ended("b", Outcome.SUCCESS, None), 1.0)
    assert outage.reason is None


def test_an_answer_beside_it_tells_that_the_proxy_is_there() -> None:
    """A tunnel that is refused while another one works stops nobody else."""
    outage = Outage()
    outage.observe(ended("a", GONE.outcome, GONE.cause), 0.0)
    released = outage.observe(ended("good", Outcome.SUCCESS, None), HOLD / 2)
    assert [result.outcome for result in released] == [Outcome.INTERRUPTED, Outcome.SUCCESS]
    assert outage.evaluate(0, HOLD) == []
    assert outage.reason is None


@pytest.mark.parametrize("end", [refusal(502), refusal(403), refusal(500), HANGS], ids=lambda end: end.cause)
def test_what_a_receiver_may_have_brought_about_is_ours_from_three_hosts_on(end: NoTunnel) -> None:
    """One or two are held back a second and then recorded as they are."""
    for hosts in (1, 2):
        outage = Outage()
        for number in range(hosts):
            assert outage.observe(ended(f"h{number}", end.outcome, end.cause), 0.0) == []
        assert [result.outcome for result in outage.evaluate(0, HOLD)] == [end.outcome] * hosts
        assert outage.reason is None
    outage = Outage()
    for number in range(3):
        outage.observe(ended(f"h{number}", end.outcome, end.cause), 0.0)
    released = outage.evaluate(0, 0.0)
    assert outcomes(released) == [("interrupted", True)] * 3
    assert {result.cause for result in released} == {f"our own network was down ({end.cause})"}
    assert {result.retry_after for result in released} == {None}
    assert outage.reason


class Receivers:
    """A daemon with two webhooks by TLS, whose requests go through a proxy on a port of ours."""

    def __init__(self, folder: Path) -> None:
        self.service = Service(folder / "log.db")
        self.port = free_port()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.tls)
        self.count: Counter[str] = Counter()
        self.service.options["egress"] = {
            "allow_localhost": True,
            "ca_file": str(folder / "ca.pem"),
            "proxy": f"http://user:hidden-word@127.0.0.1:{self.port}",
        }

    async def open(self) -> None:
        async def take(request: web.Request) -> web.Response:
            self.count[request.headers["X-Almirant-Delivery"]] += 1
            return web.Response()

        app = web.Application()
        app.router.add_post("/in", take)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        port = self.runner.addresses[0][1]
        self.service.migrate()
        for host in ("127.0.0.1", "localhost"):
            self.service.webhook(f"https://{host}:{port}/in")

    def log(self) -> set[tuple[str, int]]:
        return {(row["state"], row["tries"]) for row in self.service.log(limit=1000)}

    async def delivers_once_it_can(self, reason: str) -> None:
        """Hold that deliveries wait for free, then start a proxy that works and hold that each arrives by its first try."""
        daemon = await self.service.start()
        self.service.insert(*({"n": number} for number in range(20)))
        await self.service.until(lambda: reason in (daemon.not_ready() or ""))
        assert self.log() == {("pending", 0)}
        self.turns.set()
        await self.service.until(lambda: self.log() == {("succeeded", 1)})
        await self.service.until(lambda: daemon.not_ready() is None)
        await self.service.close()
        await self.runner.cleanup()
        assert len(self.count) == 40
        assert set(self.count.values()) == {1}
        asked = "SELECT count(*), sum(cause LIKE '%hidden%') FROM attempts WHERE outcome = 'interrupted'"
        interrupted, told = self.service.read(lambda conn: tuple(conn.execute(asked).fetchone()))
        assert 0 < interrupted < 40, "claiming did not pause"
        assert told == 0

    turns: asyncio.Event


async def test_a_proxy_that_comes_back_finds_every_delivery_with_all_of_its_tries(tmp_path: Path) -> None:
    """A real daemon, nobody at the proxy's address at first: /readyz says so, and all arrives once somebody is."""
    there = Receivers(tmp_path)
    await there.open()
    there.turns = asyncio.Event()

    async def comes_back() -> None:
        await there.turns.wait()
        async with server(relaying([]), port=there.port):
            await asyncio.Event().wait()

    task = asyncio.create_task(comes_back())
    await there.delivers_once_it_can("through egress.proxy: no connection to the proxy: connection refused")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_password_that_is_mended_lets_all_deliveries_go(tmp_path: Path) -> None:
    """407 until the proxy knows it."""
    there = Receivers(tmp_path)
    await there.open()
    there.turns = asyncio.Event()
    works, refuses = relaying([]), saying(b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (works if there.turns.is_set() else refuses)(reader, writer)

    async with server(serve) as port:
        egress = there.service.options["egress"]
        egress["proxy"] = egress["proxy"].replace(str(there.port), str(port))
        await there.delivers_once_it_can("through egress.proxy: the proxy wants another user or password (407)")
