"""Our own network is down: claiming pauses, attempts are interrupted, and nobody's tries are burnt."""

from __future__ import annotations

import ssl
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.delivery.network import HOLD, MEMORY, Outage
from almirant_webhooks.model import Claim, Outcome, Result, Trigger
from almirant_webhooks.sending.causes import NAME_NOT_FOUND, NO_DNS_ANSWER, NO_NAME_SERVER, NO_ROUTE

from ..support.service import Service
from ..support.steps import START, Steps
from .network import ip, run_alone

ADDRESSES = [f"10.9.0.{number}" for number in (1, 2, 3, 4)]


def ended(name: str, outcome: Outcome = Outcome.CONNECTION_ERROR, cause: str | None = NO_ROUTE) -> Result:
    claim = Claim(
        f"dlv_{name}", "wh", "evt", "a.b", f"https://{name}/in", "s", b"{}", 1, Trigger.SCHEDULED, False, START
    )
    return Result(claim, outcome, START, 5, cause=cause)


def outcomes(results: list[Result]) -> list[tuple[str, bool]]:
    return [(result.outcome.value, result.free) for result in results]


def test_three_hosts_out_of_reach_with_no_answer_in_between_are_an_outage_of_ours() -> None:
    """The attempts that told of it are interrupted and free; then one at a time finds out whether it is over."""
    outage = Outage()
    for name in ("a", "b", "c"):
        assert outage.observe(ended(name), 0.0) == []
    assert outcomes(outage.evaluate(0, 0.0)) == [("interrupted", True)] * 3
    assert outage.reason
    assert [outage.allowed_starts(256, 0, 0.0), outage.allowed_starts(256, 1, 0.0)] == [1, 0]
    outage.note_start(0.0)
    assert [outage.allowed_starts(256, 0, at) for at in (0.9, 1.0)] == [0, 1]
    assert outcomes(outage.observe(ended("a"), 1.0)) == [("interrupted", True)]
    assert outcomes(outage.observe(ended("a", Outcome.TIMEOUT, "no answer within 10 s"), 1.0)) == [
        ("interrupted", True)
    ]
    assert outcomes(outage.observe(ended("d", Outcome.HTTP_ERROR, "the receiver answered 500"), 2.0)) == [
        ("http_error", False)
    ]
    assert outage.reason is None
    assert outage.allowed_starts(256, 0, 2.0) == 256


@pytest.mark.parametrize("cause", [NO_ROUTE, NO_NAME_SERVER])
def test_dead_names_beside_a_receiver_that_answers_are_no_outage(cause: str) -> None:
    """Whoever answers, before the time to hold back is over, tells that the fault is the others' own."""
    outage = Outage()
    for name in ("a", "b", "c"):
        outage.observe(ended(name, cause=cause), 0.0)
    assert outage.evaluate(1, HOLD - 0.1) == []
    assert outage.allowed_starts(256, 1, HOLD - 0.1) == 0
    released = outage.observe(ended("good", Outcome.SUCCESS, None), HOLD - 0.1)
    assert outcomes(released) == [("connection_error", False)] * 3 + [("success", False)]
    assert outage.reason is None


def test_two_hosts_are_held_back_a_second_and_then_failed() -> None:
    """A third that comes within a minute makes it an outage; one that comes later does not."""
    for late, expected in ((MEMORY - 1, [("interrupted", True)]), (MEMORY + 1, [])):
        outage = Outage()
        outage.observe(ended("a"), 0.0)
        outage.observe(ended("b"), 0.0)
        assert outage.next_check(0.4) == pytest.approx(HOLD - 0.4)
        assert outcomes(outage.evaluate(0, HOLD)) == [("connection_error", False)] * 2
        outage.observe(ended("c"), late)
        assert outcomes(outage.evaluate(0, late)) == expected


def test_other_failures_are_neither_a_sign_of_an_outage_nor_of_its_end() -> None:
    """A time-out and a name that does not exist say nothing; a name server that is silent does."""
    outage = Outage()
    for number in range(5):
        for outcome, cause in (
            (Outcome.TIMEOUT, "no answer within 10 s"),
            (Outcome.CONNECTION_ERROR, NAME_NOT_FOUND),
            (Outcome.BLOCKED, "blocked"),
        ):
            assert len(outage.observe(ended(f"h{number}", outcome, cause), 0.0)) == 1
    for name in ("a", "b", "c"):
        outage.observe(ended(name, Outcome.TIMEOUT, f"{NO_DNS_ANSWER} within 10 s"), 0.0)
    outage.evaluate(0, 0.0)
    assert outage.reason
    outage.observe(ended("d", cause=NAME_NOT_FOUND), 0.0)
    assert outage.reason


def test_an_outage_costs_a_delivery_neither_a_try_nor_one_of_its_free_interruptions(steps: Steps) -> None:
    """However often it is probed; the two free interruptions are there after it."""
    webhook = steps.webhook()
    steps.event()
    for _ in range(9):
        steps.attempt(webhook, START, Outcome.INTERRUPTED, free=True)
    row = steps.only()
    assert (row["tries"], row["attempts"], row["next_attempt_at"]) == (0, 9, clock.text(START))
    for _ in range(2):
        steps.attempt(webhook, START, Outcome.INTERRUPTED)
    assert (steps.only()["tries"], steps.only()["next_attempt_at"]) == (0, clock.text(START))
    steps.attempt(webhook, START, Outcome.INTERRUPTED)
    assert steps.only()["next_attempt_at"] == clock.text(START + timedelta(minutes=1))


def test_an_interrupted_resend_of_an_outage_is_made_again(steps: Steps) -> None:
    """What was asked for still waits, as nothing reached the receiver."""
    webhook = steps.webhook()
    steps.event()
    claim = steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    steps.resend(claim.delivery_id, START)
    for _ in range(4):
        assert steps.attempt(webhook, START, Outcome.INTERRUPTED, free=True).trigger is Trigger.MANUAL


class Reached:
    """Receivers with TLS on all addresses, in the thread's own network."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*ADDRESSES).configure_cert(self.tls)
        self.count: Counter[str] = Counter()
        service.options["egress"] = {"allowed_networks": ["10.9.0.0/24"], "ca_file": str(folder / "ca.pem")}
        service.migrate()
        for address in ADDRESSES:
            service.webhook(f"https://{address}:8443/in")

    async def open(self) -> None:
        async def take(request: web.Request) -> web.Response:
            self.count[request.headers["X-Almirant-Delivery"]] += 1
            return web.Response()

        app = web.Application()
        app.router.add_post("/in", take)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "0.0.0.0", 8443, ssl_context=self.tls).start()

    async def close(self) -> None:
        await self.service.close()
        await self.runner.cleanup()

    def log(self) -> set[tuple[str, int]]:
        return {(row["state"], row["tries"]) for row in self.service.log(limit=1000)}


def test_no_route_pauses_claiming_until_there_is_one(tmp_path: Path) -> None:
    """A real daemon in a network without a route: /readyz says so, no try is burnt, and all arrives once it is back."""
    there = Reached(Service(tmp_path / "log.db"), tmp_path)

    async def scenario() -> None:
        await there.open()
        daemon = await there.service.start()
        there.service.insert(*({"n": number} for number in range(20)))
        await there.service.until(lambda: "our own network is down" in (daemon.not_ready() or ""))
        query = "SELECT count(*) FROM attempts WHERE outcome IS NOT NULL"
        before = there.service.read(lambda conn: conn.execute(query).fetchone()[0])
        await there.service.until(
            lambda: there.service.read(lambda conn: conn.execute(query).fetchone()[0]) >= before + 2
        )
        assert there.log() == {("pending", 0)}
        for address in ADDRESSES:
            ip("address", "add", f"{address}/32", "dev", "lo")
        await there.service.until(lambda: there.log() == {("succeeded", 1)})
        await there.service.until(lambda: daemon.not_ready() is None)
        await there.close()

    run_alone(scenario)
    assert len(there.count) == 80
    assert set(there.count.values()) == {1}
    outcomes = "SELECT count(*), sum(cause LIKE 'our own network was down%') FROM attempts WHERE outcome <> 'success'"
    interrupted, explained = there.service.read(lambda conn: tuple(conn.execute(outcomes).fetchone()))
    assert interrupted == explained > 2
    assert interrupted < 80, "claiming did not pause"


def test_three_customers_without_a_route_are_not_our_outage(tmp_path: Path) -> None:
    """The fourth answers: each failed attempt counts for its own delivery."""
    there = Reached(Service(tmp_path / "log.db"), tmp_path)

    async def scenario() -> None:
        ip("address", "add", f"{ADDRESSES[0]}/32", "dev", "lo")
        await there.open()
        daemon = await there.service.start()
        there.service.insert()
        await there.service.until(lambda: there.log() == {("succeeded", 1), ("pending", 1)})
        await there.service.until(lambda: daemon.not_ready() is None)
        await there.close()

    run_alone(scenario)
    causes = "SELECT DISTINCT outcome, cause FROM attempts WHERE outcome <> 'success'"
    assert [tuple(row) for row in there.service.read(lambda conn: conn.execute(causes).fetchall())] == [
        ("connection_error", NO_ROUTE)
    ]


def test_receivers_that_are_made_to_look_like_an_outage_keep_no_good_one_waiting(tmp_path: Path) -> None:
    """In the middle of what looks like one, a webhook that was not lost yet is tried at once, and its answer ends it."""
    there = Reached(Service(tmp_path / "log.db"), tmp_path)

    async def scenario() -> None:
        ip("address", "add", f"{ADDRESSES[0]}/32", "dev", "lo")
        await there.open()
        for number in range(40):
            there.service.webhook(f"https://10.9.0.{number + 100}:8443/in", project="bad")
        daemon = await there.service.start()
        there.service.insert(*({"n": number} for number in range(5)), project="bad")
        await there.service.until(lambda: "our own network is down" in (daemon.not_ready() or ""))
        there.service.insert()
        await there.service.until(lambda: there.service.log(state="succeeded"), within=5)
        await there.close()

    run_alone(scenario)
    (row,) = there.service.log(state="succeeded")
    assert (row["url"], row["attempts"]) == (f"https://{ADDRESSES[0]}:8443/in", 1)
