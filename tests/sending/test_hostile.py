"""Hostile receivers: each ends in a recorded attempt with a readable cause, within the time limit and a bounded memory."""

from __future__ import annotations

import asyncio
import functools
import gc
import socket
import time
from pathlib import Path

import pytest
import trustme
import uvloop

from almirant_webhooks.model import Outcome
from almirant_webhooks.rules.urls import Policy
from almirant_webhooks.sending.causes import HTTP_2, NOT_HTTP, TLS_ANSWER
from almirant_webhooks.sending.resolver import Resolver

from ..conftest import Receiver
from ..support.hostile import KINDS, all_of_them, server
from ..support.service import Service
from .test_sender import KEPT, LIMIT, claim, sender

HEAD_TOO_LARGE = "the answer's head is larger than 256 KiB"
WITHIN = "the connection closed within the answer"
EXPECTED: dict[str, tuple[str, int | None, str | None]] = {
    "never answers": ("timeout", None, "no answer within 0.5 s"),
    "never reads": ("timeout", None, "no answer within 0.5 s"),
    "drips its head": ("timeout", None, "no answer within 0.5 s"),
    "sends a status line and hangs": ("timeout", None, "no answer within 0.5 s"),
    "endless headers": ("connection_error", None, "the answer has more than 512 headers"),
    "endless long headers": ("connection_error", None, HEAD_TOO_LARGE),
    "a head that never ends": ("timeout", None, "no answer within 0.5 s"),
    "an endless header": ("connection_error", None, HEAD_TOO_LARGE),
    "an endless status line": ("connection_error", None, HEAD_TOO_LARGE),
    "a header of 100 MB": ("connection_error", None, HEAD_TOO_LARGE),
    "empty lines for ever": ("connection_error", None, HEAD_TOO_LARGE),
    "1xx for ever": ("connection_error", None, "more than 32 interim answers (1xx)"),
    "drips 1xx": ("timeout", None, "no answer within 0.5 s"),
    "drips its body": ("success", 200, None),
    "an endless body": ("success", 200, None),
    "an endless chunked body": ("success", 200, None),
    "chunks of one byte": ("success", 200, None),
    "an endless chunk extension": ("success", 200, None),
    "endless trailers": ("success", 200, None),
    "a gzip bomb": ("success", 200, None),
    "a malformed status line": ("connection_error", None, NOT_HTTP),
    "a status of 999": ("http_error", 999, "the receiver answered 999"),
    "a status of 000": ("http_error", 0, "the receiver answered 0"),
    "a malformed chunk with the head": ("success", 200, None),
    "a malformed chunk": ("success", 200, None),
    "a length that is no number": ("success", 200, None),
    "two lengths": ("success", 200, None),
    "HTTP/0.9": ("connection_error", None, NOT_HTTP),
    "HTTP/2": ("connection_error", None, HTTP_2),
    "TLS where HTTP is spoken": ("connection_error", None, TLS_ANSWER),
    "a header with a NUL": ("success", 200, None),
    "closes before an answer": ("connection_error", None, "connection closed before an answer"),
    "closes in the head": ("connection_error", None, WITHIN),
    "closes in the body": ("success", 200, None),
    "closes in a chunk": ("success", 200, None),
    "resets": ("connection_error", None, "connection reset"),
    "resets in the head": ("connection_error", None, WITHIN),
    "resets in the body": ("success", 200, None),
    "two answers to one request": ("success", 200, None),
    "switches protocols": ("http_error", 101, "the receiver answered 101"),
    "redirects inward": ("http_error", 302, "redirects are not followed"),
    "redirects to itself": ("http_error", 307, "redirects are not followed"),
    "closes kept connections": ("success", 200, None),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long if EXPECTED[kind][0] == "timeout" else ()) for kind in KINDS]
)
async def test_a_hostile_receiver_ends_in_a_result_within_the_limit(kind: str) -> None:
    """With the outcome that the contract says, a cause in words, and at most the configured size of its body."""
    async with server(KINDS[kind]) as port, sender() as sending:
        begin = time.monotonic()
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
        assert time.monotonic() - begin < LIMIT + 2  # the slot is free again
    assert (result.outcome.value, result.status_code, result.cause) == EXPECTED[kind]
    assert len(result.response_body) <= KEPT
    assert result.duration_ms < LIMIT * 1000 + 2000


@pytest.mark.parametrize(
    "kind", ["endless headers", "a header of 100 MB", "1xx for ever", "empty lines for ever", "an endless body"]
)
async def test_a_flood_is_cut_before_the_time_limit(kind: str) -> None:
    """It neither holds its slot nor keeps the loop busy until then."""
    async with server(KINDS[kind]) as port, sender(timeout=60.0) as sending:
        async with asyncio.timeout(30):
            result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert (result.outcome.value, result.status_code, result.cause) == EXPECTED[kind]
    assert len(result.response_body) <= KEPT


def peak_mb() -> float:
    """The most memory that this process had since the last look."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def open_sockets() -> int:
    return sum(path.is_socket() for path in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
def test_a_crowd_of_hostile_receivers_costs_a_bounded_memory_and_leaves_no_connection(tmp_path: Path) -> None:
    """Over TLS and on the daemon's own kind of loop, three of each kind at once, round after round."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))

    async def rounds(ports: dict[str, int]) -> None:
        peaks = []
        sockets_before = open_sockets()
        async with sender(ca_file=str(tmp_path / "ca.pem"), timeout=2.0) as sending:
            peak_mb()
            before = peak_mb()
            for _ in range(3):
                claims = [claim(f"https://localhost:{port}/in") for port in ports.values()] * 3
                results = await asyncio.gather(*(sending.send(one) for one in claims))
                peaks.append(peak_mb())
                assert {one.outcome for one in results} >= {
                    Outcome.SUCCESS,
                    Outcome.HTTP_ERROR,
                    Outcome.TIMEOUT,
                    Outcome.CONNECTION_ERROR,
                }
        async with asyncio.timeout(30):
            while open_sockets() > sockets_before:
                await asyncio.sleep(0.01)
        assert max(peaks) < before + 70, (before, peaks)

    with all_of_them(tmp_path / "server.pem") as ports, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(rounds(ports))


def _succeeded(service: Service, count: int) -> bool:
    return [row["state"] for row in service.log()].count("succeeded") == count


async def test_a_kept_connection_that_was_closed_costs_a_delivery_none_of_its_tries(service: Service) -> None:
    """The daemon makes the attempt again at once, on a fresh connection."""
    service.options["delivery"] = {"retry_schedule": ["0s", "1h"]}
    async with server(KINDS["closes kept connections"]) as port:
        service.migrate()
        service.webhook(f"http://127.0.0.1:{port}/in")
        await service.start()
        for number in (1, 2):
            service.insert()
            await service.until(functools.partial(_succeeded, service, number))
    rows = sorted(service.log(), key=lambda row: row["attempts"])
    assert [(row["attempts"], row["tries"]) for row in rows] == [(1, 1), (2, 1)]


async def test_a_blocked_attempt_waits_its_schedule_and_is_counted(service: Service, receiver: Receiver) -> None:
    """Also that of an http:// URL which was saved while development mode was on; nothing is sent."""
    service.migrate()
    service.options["egress"] = {"allow_localhost": False}
    service.webhook(receiver.url)
    service.webhook("https://127.0.0.1:1/")
    daemon = await service.start()
    service.insert()
    await service.until(lambda: [row["status"] for row in service.log()] == ["blocked"] * 2)
    assert {row["state"] for row in service.log()} == {"pending"}
    assert all(row["next_attempt_at"] for row in service.log())
    await service.until(lambda: b'attempts_total{outcome="blocked"} 2.0' in daemon.metrics.page())
    assert receiver.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]"])
async def test_the_address_that_the_daemon_listens_on_stays_closed(service: Service, host: str) -> None:
    """In development too, by whatever name and address it is reached, with a port that the system chose."""
    service.options["admin"] = {"listen": f"{host}:0", "token": "t" * 32}
    daemon = await service.start()
    assert daemon.address is not None
    port = daemon.address[1]
    there = [url for url in ("http://127.0.0.1", "http://localhost", "http://[::1]")
             if host in ("localhost", "0.0.0.0", "[::]") or url.endswith(host)]  # fmt: skip
    for url in there:
        service.webhook(f"{url}:{port}/")
    service.insert()
    await service.until(lambda: len(service.log()) == len(there) and all(row["status"] for row in service.log()))
    ended = {row["url"]: row["status"] for row in service.log()}
    assert ended.pop(f"http://127.0.0.1:{port}/", "blocked") == "blocked"
    if host != "localhost":  # with port 0 each of its two addresses has a port of its own
        assert set(ended.values()) <= {"blocked"}


@pytest.mark.long
async def test_a_body_that_drips_makes_its_webhook_a_slow_one(service: Service) -> None:
    """Its quick head is what the log shows; its slots are those that slow webhooks share, since it holds them."""
    service.options["delivery"] = {"timeout": "1200ms"}
    async with server(KINDS["drips its body"]) as port:
        service.migrate()
        webhook = service.webhook(f"http://127.0.0.1:{port}/in")
        daemon = await service.start()
        service.insert()
        await service.until(lambda: _succeeded(service, 1))
        assert daemon.loop.scheduler.slow == {webhook.id}
    (row,) = service.log()
    assert row["duration_ms"] < 1000


async def test_a_proxy_in_the_environment_is_not_used(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that is checked is the one that is dialled."""
    met: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(await reader.read(100))

    async with server(proxy) as port:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        service.migrate()
        service.webhook(receiver.url)
        await service.start()
        service.insert()
        await service.until(lambda: _succeeded(service, 1))
    assert (len(receiver.requests), met) == (1, [])


async def test_of_many_addresses_of_a_name_a_few_are_dialled() -> None:
    """Each that does not answer stays open beside the next, so that thousands would use up the daemon's files."""
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"8.8.{number // 250}.{number % 250}", 0))
        for number in range(4000)
    ]
    found += [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (f"2606:4700::{number:x}", 0)) for number in range(100)]
    resolver = Resolver(Policy(), lambda host, family: found)
    kept = [one[4][0] for one in await resolver.resolve("many.example", 443)]
    assert kept[:4] == ["8.8.0.0", "8.8.0.1", "8.8.0.2", "8.8.0.3"]
    assert kept[4:] == [f"2606:4700::{number}" for number in range(4)]
    await resolver.close()


@pytest.mark.long
def test_an_attempt_that_failed_leaves_nothing_to_the_garbage_collector() -> None:
    """It comes after tens of thousands of objects in the daemon; with rings of errors and frames memory grew until then."""

    async def leftovers(ports: dict[str, int]) -> int:
        async with sender() as sending:
            for _ in range(2):  # what is made once is made in the first round
                gc.collect()
                claims = [claim(f"http://127.0.0.1:{port}/in") for port in ports.values()] * 5
                await asyncio.gather(*(sending.send(one) for one in claims))
                await asyncio.sleep(0.05)  # until connections that were given up are told so
            return gc.collect() // 5

    with all_of_them() as ports, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        gc.disable()
        try:
            assert runner.run(leftovers(ports)) < len(ports)
        finally:
            gc.enable()
