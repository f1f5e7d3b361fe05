"""Requests through a proxy, by tunnels of real sockets and real TLS, and what each answer to CONNECT comes to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from almirant_webhooks.model import Outcome
from almirant_webhooks.rules.proxies import parse_proxy
from almirant_webhooks.rules.urls import BLOCKED, Policy
from almirant_webhooks.sending import proxy_answers
from almirant_webhooks.sending.sender import Sender

from ..support.hostile import OK, Serve, read_request, server
from ..support.ports import free_port
from ..support.proxies import ESTABLISHED, proxy, relaying, saying, tinyproxy
from .test_sender import claim, sender

ANSWER = OK + b"Content-Length: 0\r\n\r\n"


class There(NamedTuple):
    """A receiver with TLS: its URL, the heads of requests that it got, and how many connections it had."""

    url: str
    ca_file: str
    heads: list[bytes]
    connections: list[None]


@contextlib.asynccontextmanager
async def receiver(folder: Path, certified: str = "127.0.0.1", host: str = "127.0.0.1") -> AsyncIterator[There]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certified).configure_cert(tls)
    heads: list[bytes] = []
    connections: list[None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(None)
        while True:
            heads.append(await read_request(reader))
            writer.write(ANSWER)

    async with server(serve, tls) as port:
        yield There(f"https://{host}:{port}/in", str(folder / "ca.pem"), heads, connections)


@contextlib.asynccontextmanager
async def through(
    url: str, ca_file: str = "", *, timeout: float = 10.0, policy: Policy | None = None
) -> AsyncIterator[Sender]:
    options = {"proxy": parse_proxy(url), "ca_file": ca_file, "timeout": timeout}
    async with sender(policy or Policy(allow_localhost=True), **options) as sending:
        yield sending


async def test_a_tunnel_is_kept_for_its_receiver_and_has_the_request_alone(tmp_path: Path) -> None:
    """The proxy is told host, port and its own password, and sees none of the request's headers."""
    asked: list[bytes] = []
    async with (
        receiver(tmp_path) as there,
        proxy(relaying(asked)) as url,
        through(url.replace("//", "//us%40er:word@"), there.ca_file) as sending,
    ):
        results = [await sending.send(claim(there.url)) for _ in range(3)]
    assert {result.outcome for result in results} == {Outcome.SUCCESS}
    assert (len(there.heads), len(there.connections), len(asked)) == (3, 1, 1)
    where = there.url.split("/")[2]
    word = base64.b64encode(b"us@er:word").decode()
    assert asked[0].decode() == (
        f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\nProxy-Authorization: Basic {word}\r\n\r\n"
    )
    assert all(b"Proxy-" not in head for head in there.heads)


async def test_the_certificate_is_verified_for_the_receiver(tmp_path: Path) -> None:
    """Inside the tunnel, for the receiver's name and not the proxy's."""
    async with (
        receiver(tmp_path, certified="other.test") as there,
        proxy(relaying([])) as url,
        through(url, there.ca_file) as sending,
    ):
        result = await sending.send(claim(there.url))
    assert result.outcome is Outcome.CONNECTION_ERROR
    assert (result.cause or "").startswith("TLS: the certificate was not accepted: it is for another")
    assert there.heads == []


async def test_a_name_is_the_proxys_to_look_up(tmp_path: Path) -> None:
    """It is handed on as it is, and nothing is asked of DNS here."""
    asked: list[bytes] = []
    answered = saying(b"HTTP/1.1 503 Nowhere\r\n\r\n")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n"))
        await answered(reader, writer)

    async with proxy(serve) as url, through(url, policy=Policy()) as sending:
        result = await sending.send(claim("https://only-the-proxy-knows.invalid/in"))
    assert asked == [b"CONNECT only-the-proxy-knows.invalid:443 HTTP/1.1\r\n"]
    assert (result.outcome, result.cause) == (Outcome.CONNECTION_ERROR, "the proxy could not reach the receiver (503)")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/in",
        "https://10.0.0.1/in",
        "https://169.254.169.254/in",
        "https://[::1]/in",
        "https://[::ffff:10.0.0.1]/in",
        "https://localhost/in",
        "https://a.localhost/in",
    ],
)
async def test_forbidden_literals_and_names_are_refused_before_the_proxy_is_asked(url: str) -> None:
    """Whatever a proxy would let through."""
    asked: list[bytes] = []
    async with proxy(relaying(asked)) as there, through(there, policy=Policy()) as sending:
        result = await sending.send(claim(url))
    assert (result.outcome, result.cause, asked) == (Outcome.BLOCKED, BLOCKED, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_the_daemons_own_port_is_not_asked_of_a_proxy(host: str) -> None:
    """In development too, where loopback is open."""
    policy = Policy(allow_localhost=True, closed=frozenset({("127.0.0.1", 8420), ("::1", 8420)}))
    async with through("http://127.0.0.1:1", policy=policy) as sending:
        result = await sending.send(claim(f"https://{host}:8420/in"))
    assert result.outcome is Outcome.BLOCKED


async def test_loopback_http_goes_past_the_proxy() -> None:
    """A receiver of development is reached though nobody listens at the proxy's address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ANSWER)

    async with server(serve) as port, through(f"http://127.0.0.1:{free_port()}") as sending:
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert result.outcome is Outcome.SUCCESS


OURS = [
    (saying(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "the proxy wants another user or password (407)"),
    (saying(b"HTTP/1.1 401 Unauthorized\r\n\r\n"), "the proxy wants another user or password (401)"),
    (saying(b"HTTP/1.1 500 Oh\r\nX: y\r\n\r\n<h1>"), "the proxy itself failed (500)"),
    (saying(b"HTTP/1.1 501 No CONNECT\r\n\r\n"), "the proxy itself failed (501)"),
    (saying(b"HTTP/1.1 302 Sign in\r\nLocation: /\r\n\r\n"), "the proxy itself failed (302)"),
    (saying(b""), "no answer from the proxy: connection closed before an answer"),
    (saying(b"HTTP/1.1 200"), "the proxy's answer is not HTTP"),
    (saying(b"SSH-2.0-OpenSSH_9\r\n", hang=True), "the proxy's answer is not HTTP"),
    (saying(b"HTTP/1.1 abc\r\n\r\n", hang=True), "the proxy's answer is not HTTP"),
    (saying(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, hang=True), "the proxy's answer is not HTTP"),
    (saying(b"HTTP/1.1 100 C\r\n\r\n" * 2000, hang=True), "the proxy's answer is not HTTP"),
    (saying(ESTABLISHED + b"hello", hang=True), "the proxy's answer is not HTTP: there is more than a head"),
]
THEIRS = [
    (502, Outcome.CONNECTION_ERROR, "the proxy could not reach the receiver (502)"),
    (503, Outcome.CONNECTION_ERROR, "the proxy could not reach the receiver (503)"),
    (504, Outcome.CONNECTION_ERROR, "the proxy could not reach the receiver (504)"),
    (403, Outcome.BLOCKED, "the proxy refused the receiver (403)"),
    (429, Outcome.BLOCKED, "the proxy refused the receiver (429)"),
]


@pytest.mark.parametrize(("serve", "cause"), OURS, ids=[cause for _, cause in OURS])
async def test_what_is_the_proxys_own_trouble_interrupts_and_costs_nothing(serve: Serve, cause: str) -> None:
    """And waits a minute, so that a proxy that fails for one receiver is not asked without a rest."""
    async with proxy(serve) as url, through(url) as sending:
        result = await sending.send(claim("https://a.example/in"))
    assert (result.outcome, result.cause, result.free, result.retry_after) == (Outcome.INTERRUPTED, cause, True, 60.0)
    assert result.response_body == b""
    assert proxy_answers.is_own_fault(result.cause)


@pytest.mark.parametrize(("status", "outcome", "cause"), THEIRS)
async def test_what_the_proxy_says_of_a_receiver_counts_as_a_failed_try(
    status: int, outcome: Outcome, cause: str
) -> None:
    """Nothing of the proxy's page is kept."""
    answer = b"HTTP/1.0 %d Secret words of the proxy\r\nContent-Length: 5\r\n\r\nhello" % status
    async with proxy(saying(answer, hang=True)) as url, through(url) as sending:
        result = await sending.send(claim("https://a.example/in"))
    assert (result.outcome, result.cause, result.free) == (outcome, cause, False)
    assert (result.status_code, result.response_body) == (None, b"")


async def test_nobody_at_the_proxys_address_or_no_such_name_is_ours() -> None:
    """In words that name neither the proxy's address nor its password."""
    for url, words in (
        (f"http://user:word@127.0.0.1:{free_port()}", "no connection to the proxy: connection refused"),
        ("http://user:word@proxy.invalid:3128", "no connection to the proxy: "),
    ):
        async with through(url) as sending:
            result = await sending.send(claim("https://a.example/in"))
        assert (result.outcome, result.free) == (Outcome.INTERRUPTED, True)
        assert (result.cause or "").startswith(words)
        assert "invalid" not in (result.cause or "")


async def test_a_proxy_that_hangs_is_given_up_at_the_attempts_own_limit() -> None:
    """CONNECT is a part of the attempt: its time limit is for both."""
    async with proxy(saying(b"HTTP/1.1 100 Continue\r\n\r\n", hang=True)) as url, through(url, timeout=0.3) as sending:
        result = await sending.send(claim("https://a.example/in"))
    assert (result.outcome, result.cause, result.free) == (Outcome.INTERRUPTED, "no answer from the proxy", True)
    assert result.duration_ms >= 300


async def test_a_receiver_that_hangs_behind_a_tunnel_has_timed_out() -> None:
    """The proxy has done its part: the attempt counts."""
    async with proxy(saying(ESTABLISHED, hang=True)) as url, through(url, timeout=0.3) as sending:
        result = await sending.send(claim("https://a.example/in"))
    assert (result.outcome, result.cause, result.free) == (Outcome.TIMEOUT, "no answer within 0.3 s", False)


async def test_a_tunnel_that_closes_at_once_is_a_receivers_connection_error() -> None:
    """As one without a proxy would be."""
    async with proxy(saying(ESTABLISHED)) as url, through(url) as sending:
        result = await sending.send(claim("https://a.example/in"))
    assert result.outcome is Outcome.CONNECTION_ERROR
    assert not result.free


@pytest.mark.long
async def test_tinyproxy_lets_in_who_has_its_password(tmp_path: Path) -> None:
    """A real proxy: with the password a tunnel, with another one none."""
    async with receiver(tmp_path) as there, tinyproxy(tmp_path, "BasicAuth almirant a-pass-word") as port:
        async with through(f"http://almirant:a-pass-word@127.0.0.1:{port}", there.ca_file) as sending:
            assert (await sending.send(claim(there.url))).outcome is Outcome.SUCCESS
        async with through(f"http://almirant:another@127.0.0.1:{port}", there.ca_file) as sending:
            refused = await sending.send(claim(there.url))
    assert (refused.outcome, refused.free) == (Outcome.INTERRUPTED, True)
    assert refused.cause == "the proxy wants another user or password (401)"
    assert len(there.heads) == 1


@pytest.mark.long
async def test_tinyproxy_answers_500_for_a_receiver_that_is_down(tmp_path: Path) -> None:
    """Which is the proxy's own trouble by the rules; docs/proxy.md tells to use another one."""
    async with tinyproxy(tmp_path) as port, through(f"http://127.0.0.1:{port}") as sending:
        result = await sending.send(claim(f"https://127.0.0.1:{free_port()}/in"))
    assert (result.outcome, result.cause) == (Outcome.INTERRUPTED, "the proxy itself failed (500)")
