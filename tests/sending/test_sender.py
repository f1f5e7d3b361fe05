"""The sender against real sockets and real TLS: every answer, and none, ends in a Result within the time limit."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, Misconfigured, Outcome, Result, Trigger
from almirant_webhooks.ops import limits
from almirant_webhooks.rules.urls import BLOCKED, Policy
from almirant_webhooks.sending.answers import keep_headers, retry_after
from almirant_webhooks.sending.causes import NAME_NOT_FOUND
from almirant_webhooks.sending.own_faults import NO_FILES, NO_SIGN, MayNotSend
from almirant_webhooks.sending.sender import MOST_FRESH, Prepared, Sender

from ..support.hostile import OK, answering, read_request, server
from ..support.signed import headers_sent

LIMIT = 0.5
KEPT = 1024


def claim(url: str, delivery_id: str = "dlv_1") -> Claim:
    now = clock.now()
    return Claim(delivery_id, "wh_1", "evt_1", "a.b", url, "s" * 16, b"{}", 1, Trigger.SCHEDULED, False, now)


@asynccontextmanager
async def sender(policy: Policy | None = None, **options: Any) -> AsyncIterator[Sender]:
    options = {"timeout": LIMIT, "max_response_body": KEPT, **options}
    made = Sender(policy or Policy(allow_localhost=True), **options)
    await made.start()
    yield made
    await made.close()


async def test_a_body_is_cut_at_the_limit_with_a_mark_and_never_decompressed() -> None:
    """One byte under the limit is whole; a gzip bomb is its own bytes."""
    for size, cut in ((KEPT, False), (KEPT + 1, True)):
        head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % size
        async with server(answering(head + b"\x1f\x8b" + b"z" * (size - 2))) as port, sender() as sending:
            result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
        assert (len(result.response_body), result.body_cut) == (KEPT, cut)
        assert result.response_body.startswith(b"\x1f\x8bz")


async def test_credentials_in_an_answer_are_masked_and_no_cookie_is_sent_back() -> None:
    """And bytes that are no text are kept as escapes."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await read_request(reader))
            writer.write(OK + b"Set-Cookie: a=secret\r\nX-Odd: \xff\r\nContent-Length: 0\r\n\r\n")

    async with server(serve) as port, sender() as sending:
        for _ in range(2):
            result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert ("Set-Cookie", "(masked)") in result.response_headers
    assert ("X-Odd", "\\xff") in result.response_headers
    assert not any(b"cookie" in head.lower() for head in heads)


async def test_the_request_is_what_the_log_says(tmp_path: Path) -> None:
    """Every header that is sent is one that was recorded, in the same order."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with server(serve) as port, sender() as sending:
        one = claim(f"http://127.0.0.1:{port}/in?a=%2F")
        await sending.send(one)
    first, *lines = heads[0].decode().strip().split("\r\n")
    assert first == "POST /in?a=%2F HTTP/1.1"
    assert sorted(lines) == sorted(f"{name}: {value}" for name, value in headers_sent(one))


async def test_nothing_is_sent_once_another_daemon_may_send_in_this_one_s_place() -> None:
    """It is asked right before a request is written, on a kept connection and on one that was just opened."""
    heads: list[bytes] = []
    answers: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await read_request(reader))
            writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with server(serve) as port, sender(may_send=lambda: answers.pop(0)) as sending:
        url = f"http://127.0.0.1:{port}/in"
        answers += [True, False]
        result = await sending.send(claim(url))
        assert (result.outcome, result.cause, result.free) == (Outcome.INTERRUPTED, NO_SIGN, True)
        answers += [True, True]
        assert (await sending.send(claim(url))).outcome is Outcome.SUCCESS
        answers += [False]
        with pytest.raises(MayNotSend):
            await sending.send(claim(url))
    assert len(heads) == 1


async def test_nothing_is_sent_while_a_request_is_prepared() -> None:
    """And a kept connection that closes meanwhile is not taken: that costs no attempt."""
    seen: list[bytes] = []
    kept: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)
        while True:
            seen.append(await read_request(reader))
            writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with server(serve) as port, sender() as sending:
        url = f"http://127.0.0.1:{port}/in"
        await sending.send(claim(url))

        prepared = sending.prepare(claim(url))
        assert isinstance(prepared, Prepared)
        kept[0].close()
        while any(connection.is_open for connection in sending.connections._idle):
            await asyncio.sleep(0)
        assert len(seen) == 1
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        sending.begin(prepared, result.set_result)
        await result
    assert (result.result().outcome, len(seen), len(kept)) == (Outcome.SUCCESS, 2, 2)


async def test_a_request_is_written_out_whole_before_it_is_made() -> None:
    """Its line, the headers that are recorded, and the body; for what may not be asked there is a result instead."""
    attempt = claim("http://127.0.0.1:9/in?a=%2F")
    async with sender() as sending:
        prepared = sending.prepare(attempt)
    assert isinstance(prepared, Prepared)
    head, body = prepared.request.split(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert (line, body) == ("POST /in?a=%2F HTTP/1.1", attempt.body)
    assert sorted(headers) == sorted(f"{name}: {value}" for name, value in headers_sent(attempt))
    async with sender(Policy()) as sending:
        refused = sending.prepare(claim("http://localhost/in"))
    assert isinstance(refused, Result)
    assert (refused.outcome, refused.cause) == (Outcome.BLOCKED, BLOCKED)


async def test_a_body_of_very_many_chunks_is_read_to_its_end() -> None:
    """Where so much is kept that the parser has to pause on the way."""
    count = 60_000
    answer = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nz\r\n" * count + b"0\r\n\r\n"
    async with server(answering(answer)) as port, sender(timeout=10.0, max_response_body=1024 * 1024) as sending:
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert (len(result.response_body), result.body_cut) == (count, False)


async def test_an_answer_before_the_whole_request_was_read_counts_and_its_connection_is_not_kept() -> None:
    """What is left of the one body would stand before the next request."""
    body = b"x" * (32 * 1024 * 1024)
    connections: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async with server(serve) as port, sender(timeout=10.0) as sending:
        for _ in range(2):
            result = await sending.send(claim(f"http://127.0.0.1:{port}/in")._replace(body=body))
            assert result.status_code == 413
    assert len(connections) == 2


async def test_a_header_with_a_line_break_is_never_sent() -> None:
    """It would be a header, or a request, of its own."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))

    async with server(serve) as port, sender() as sending:
        one = claim(f"http://127.0.0.1:{port}/in")
        for odd in ("a\r\nX-Other: 1", "a\nb", "a\rb"):
            for changed in (
                one._replace(webhook_headers=(("X-Odd", odd),)),
                one._replace(webhook_headers=((odd, "x"),)),
                one._replace(event_type=odd),
                one._replace(delivery_id=odd),
            ):
                result = await sending.send(changed)
                assert (result.outcome, result.cause) == (Outcome.CONNECTION_ERROR, "the request could not be made")
    assert heads == []


async def test_a_kept_connection_that_was_closed_is_interrupted_and_the_next_one_is_fresh() -> None:
    """It is ours to mend: not charged to the receiver."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(OK + b"Content-Length: 0\r\n\r\n")
        await writer.drain()
        await read_request(reader)  # the second request of a connection is read, and the connection closed

    async with server(serve) as port, sender() as sending:
        outcomes = [(await sending.send(claim(f"http://127.0.0.1:{port}/in"))).outcome for _ in range(3)]
    assert outcomes == [Outcome.SUCCESS, Outcome.INTERRUPTED, Outcome.SUCCESS]
    assert connections == 2


@pytest.mark.parametrize(
    "url",
    ["https://10.0.0.1/", "https://169.254.169.254/", "https://localhost/", "http://127.0.0.1:1/", "https://[::1]/"],
)
async def test_every_forbidden_address_is_blocked_with_the_same_words(url: str) -> None:
    """At the socket, whatever was stored: no map of the inner network in the log."""
    async with sender(Policy()) as sending:
        result = await sending.send(claim(url))
    assert (result.outcome, result.cause, result.status_code) == (Outcome.BLOCKED, BLOCKED, None)


async def test_no_connection_has_a_short_cause(unused_tcp_port: int) -> None:
    """Refused, and a name that is nowhere."""
    async with sender() as sending:
        refused = await sending.send(claim(f"http://127.0.0.1:{unused_tcp_port}/"))
        nowhere = await sending.send(claim("https://nowhere.invalid/"))
    assert (refused.outcome, refused.cause) == (Outcome.CONNECTION_ERROR, "connection refused")
    assert (nowhere.outcome, nowhere.cause) == (Outcome.CONNECTION_ERROR, NAME_NOT_FOUND)


@pytest.mark.long
async def test_a_time_out_during_a_stall_of_ours_is_not_charged_to_the_receiver() -> None:
    """It is interrupted."""
    async with server(answering(hang=True)) as port, sender(stalled=lambda begin, end: end > begin) as sending:
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert result.outcome is Outcome.INTERRUPTED


async def test_tls_is_verified(tmp_path: Path) -> None:
    """A private CA by `egress.ca_file`; unknown CAs, wrong names and old versions of TLS are refused in plain words."""
    ca, other = trustme.CA(), trustme.CA()
    ca_file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))

    async def attempt(
        issuer: trustme.CA, name: str, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> tuple[str, str]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.maximum_version = maximum
        issuer.issue_cert(name).configure_cert(tls)
        async with (
            server(answering(OK + b"Content-Length: 0\r\n\r\n"), tls) as port,
            sender(ca_file=str(ca_file)) as sending,
        ):
            result = await sending.send(claim(f"https://localhost:{port}/"))
        return result.outcome.value, result.cause or ""

    assert await attempt(ca, "localhost") == ("success", "")
    assert await attempt(ca, "localhost", ssl.TLSVersion.TLSv1_2) == ("success", "")
    for issuer, name in ((other, "localhost"), (ca, "example.com")):
        outcome, cause = await attempt(issuer, name)
        assert outcome == "connection_error"
        assert "certificate" in cause
    with pytest.raises(Misconfigured, match="ca_file"):
        Sender(Policy(), timeout=1, max_response_body=1, ca_file=str(tmp_path / "none.pem"))


def test_what_is_kept_of_headers_is_bounded() -> None:
    """128 of them and 16 KiB, with a mark."""
    assert len(keep_headers(((b"a", b"b"),) * 500)) == 129
    assert sum(len(name) + len(value) for name, value in keep_headers(((b"a", b"b" * 5000),) * 10)) < 17_000


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("120", 120.0),
        (" 120 ", 120.0),
        ("0000000000120", 120.0),
        ("0" * 400, 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        (None, None),
        ("", None),
        ("9" * 400, 999999999.0),
        ("Mon, 23 Nov 2026 09:01:00 GMT", 60.0),  # the three forms of RFC 9110
        ("Monday, 23-Nov-26 09:01:00 GMT", 60.0),
        ("Mon Nov 23 09:01:00 2026", 60.0),
        ("Wed Nov  4 09:01:00 2026", 0.0),
        ("Mon, 23 Nov 2026 10:01:00 +0100", 60.0),
        ("Mon, 23 Nov 2026 09:01:00 -0000", 60.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251606876399.0),
        ("Fri, 31 Dec 9999 23:59:59 -1200", None),
        ("Mon, 01 Jan 0001 00:00:00 +1200", 0.0),
        ("Mon, 32 Foo 99999 99:99:99 +9999", None),
        ("Sun, 23 Nov 99999999999 09:01:00 GMT", None),
        ("(" * 5000, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(written: str | None, seconds: float | None) -> None:
    """Anything else is no wish."""
    now = clock.parse("2026-11-23T09:00:00Z")
    assert retry_after(written, now) == seconds
    assert retry_after("Mon, 23 Nov 2026 09:01:00 GMT", now) == 60.0
    assert retry_after("Mon, 23 Nov 2026 08:59:00 GMT", now) == 0.0


@given(
    st.text(max_size=80)
    | st.from_regex(r"[A-Z][a-z]{2,8},? \d{1,9}[ -][A-Z][a-z]{2}[ -]\d{1,9} [\d:+]{1,12} ?[-+A-Z0-9]*")
)
def test_no_date_of_a_receiver_is_an_error_of_ours(written: str) -> None:
    """However far it is, in either direction."""
    found = retry_after(written, clock.now())
    assert found is None or found >= 0


async def test_an_answer_of_bytes_that_are_no_text_is_kept_as_it_came() -> None:
    """NULs, invalid UTF-8 and HTML in the body; names that speak of credentials are masked whatever their spelling."""
    body = b"<script>alert(1)</script>\0\xff\xfe"
    head = OK + b"X-API-Key: k\r\nCOOKIE: c\r\nX-Auth-Token: t\r\nAuthor: me\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with server(answering(head + body)) as port, sender() as sending:
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert result.response_body == body
    kept = {name.lower(): value for name, value in result.response_headers}
    assert {name for name, value in kept.items() if value == "(masked)"} == {"x-api-key", "cookie", "x-auth-token"}
    assert kept["author"] == "me"


async def test_wishes_for_a_fresh_connection_are_bounded() -> None:
    """The oldest is forgotten."""
    async with sender() as sending:
        for number in range(MOST_FRESH + 5):
            sending._ask_for_fresh(f"dlv_{number}")
        assert len(sending._use_fresh) == MOST_FRESH
        assert "dlv_0" not in sending._use_fresh


async def test_a_wish_for_a_fresh_connection_outlives_an_attempt_that_was_not_made() -> None:
    """Its group was not committed: the attempt that is made opens one."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await read_request(reader):
            writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with server(serve) as port, sender() as sending:
        one = claim(f"http://127.0.0.1:{port}/in")
        await sending.send(one)
        sending._ask_for_fresh(one.delivery_id)
        assert isinstance(sending.prepare(one), Prepared)
        assert (await sending.send(one)).outcome is Outcome.SUCCESS
    assert connections == 2


async def test_files_that_run_out_are_no_fault_of_the_receivers() -> None:
    """The daemon takes as many as the system allows; with none left an attempt is interrupted."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    there = len(list(Path("/proc/self/fd").iterdir()))

    async def attempts(sending: Sender, port: int) -> set[tuple[str, str | None]]:
        hosts = [f"127.0.{number}.1" for number in range(100)]
        results = await asyncio.gather(*(sending.send(claim(f"http://{host}:{port}/in", host)) for host in hosts))
        return {(one.outcome.value, one.cause) for one in results}

    async with server(answering(OK + b"Content-Length: 0\r\n\r\n", hang=True), host="0.0.0.0") as port:
        resource.setrlimit(resource.RLIMIT_NOFILE, (there + 50, most))
        try:
            assert limits.raise_file_limit() == most
            async with sender() as sending:
                assert await attempts(sending, port) == {("success", None)}
            async with sender() as sending:
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
                result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
            assert (result.outcome, result.cause) == (Outcome.INTERRUPTED, NO_FILES)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
