"""Receivers that write HTTP carelessly: once there is a status line, it decides; what is no HTTP at all is kept and named."""

from __future__ import annotations

import asyncio

import pytest

from almirant_webhooks.model import Outcome
from almirant_webhooks.sending.causes import HTTP_2, NOT_HTTP, TLS_ANSWER

from ..support.hostile import OK, Serve, answering, read_request, server
from ..support.service import Service
from .test_sender import claim, sender

BODY = b"\r\n\r\nok"
SLOPPY: dict[str, bytes] = {
    "two lengths that are the same": OK + b"Content-Length: 2\r\nContent-Length: 2" + BODY,
    "the same length twice in one header": OK + b"Content-Length: 2, 2" + BODY,
    "two lengths that differ": OK + b"Content-Length: 2\r\nContent-Length: 3" + BODY,
    "a length that is no number": OK + b"Content-Length: two" + BODY,
    "a length with a sign": OK + b"Content-Length: +2" + BODY,
    "an empty length": OK + b"Content-Length:" + BODY,
    "a length of thirty digits": OK + b"Content-Length: " + b"9" * 30 + BODY,
    "a length and chunks": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks in words of another case": OK + b"transfer-encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a coding named identity, and a length": OK + b"Transfer-Encoding: identity\r\nContent-Length: 2" + BODY,
    "a coding named identity": OK + b"Transfer-Encoding: identity" + BODY,
    "a blank before the colon": OK + b"X-Echo : a\r\nContent-Length: 2" + BODY,
    "lines that end in LF alone": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "chunks that end in LF alone": b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n",
    "a folded line": OK + b"X-Folded: a\r\n\tb\r\nContent-Length: 2" + BODY,
    "a folded line at first": OK + b" folded: x\r\nContent-Length: 2" + BODY,
    "a line without a colon": OK + b"NoColon\r\nContent-Length: 2" + BODY,
    "a header without a name": OK + b": x\r\nContent-Length: 2" + BODY,
    "odd characters in a name": OK + b"X(a)\xff: x\r\nContent-Length: 2" + BODY,
    "control characters in a value": OK + b"X-Odd: a\0b\x1b[31m\r\nContent-Length: 2" + BODY,
    "CR alone in a value": OK + b"X-Odd: a\rb\r\nContent-Length: 2" + BODY,
    "another version": b"HTTP/9.9 200 OK\r\nContent-Length: 2" + BODY,
    "a version without a dot": b"HTTP/2 200\r\nContent-Length: 2" + BODY,
    "a version in small letters": b"http/1.1 200 OK\r\nContent-Length: 2" + BODY,
    "two blanks before the status": b"HTTP/1.1  200 OK\r\nContent-Length: 2" + BODY,
    "empty lines before it": b"\r\n\n\r\nHTTP/1.1 200 OK\nContent-Length: 2" + BODY,
    "interim answers that are sloppy": b"HTTP/1.1 103 E\nLink : x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2" + BODY,
}  # fmt: skip
UNENDING = ("a coding named identity, and a length", "a coding named identity", "chunks that end in LF alone")


def _answer_each(answer: bytes, connections: list[int]) -> Serve:
    """Answer each request of a connection, and leave it open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while await read_request(reader):
            writer.write(answer)

    return serve


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long) if kind in UNENDING else kind for kind in SLOPPY]
)
async def test_once_there_is_a_status_line_it_decides_and_the_connection_closes(kind: str) -> None:
    """As curl and others have it: a success by one attempt, its body shown, and what is doubtful carries no other request."""
    connections: list[int] = []
    async with server(_answer_each(SLOPPY[kind], connections)) as port, sender(timeout=1.0) as sending:
        for _ in range(2):
            result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
            assert (result.outcome, result.status_code, result.cause) == (Outcome.SUCCESS, 200, None)
            assert result.response_body == b"ok"
    strictly_read = kind == "chunks in words of another case"
    assert len(connections) == (1 if strictly_read else 2)


async def test_headers_of_a_sloppy_answer_are_kept_as_they_are_meant() -> None:
    """Folded lines joined, blanks stripped, what cannot be shown as escapes, credentials masked; Retry-After counts."""
    head = (
        b"HTTP/1.1 503 Busy\nRetry-After : 00000000120\r\nX-Folded: a\r\n  b\r\nX-Odd: a\0b\x1b\xff\r\n"
        b"Set-Cookie : secret\r\nno colon, a token\r\n\r\n"
    )
    async with server(answering(head)) as port, sender() as sending:
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert (result.outcome, result.status_code, result.retry_after) == (Outcome.HTTP_ERROR, 503, 120.0)
    assert result.response_headers == (
        ("Retry-After", "00000000120"),
        ("X-Folded", "a b"),
        ("X-Odd", "a\\x00b\\x1b\\xff"),
        ("Set-Cookie", "(masked)"),
        ("", "(masked)"),
    )


NO_HTTP: dict[str, tuple[bytes, bytes, str]] = {
    "HTTP/2, its settings": (b"\0\0\x12\4\0\0\0\0\0" + b"\0" * 18, b"", HTTP_2),
    "HTTP/2, its farewell": (b"\0\0\x08\7\0\0\0\0\0" + b"\0" * 8, b"", HTTP_2),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x46", b"", TLS_ANSWER),
    "SSH": (b"SSH-2.0-OpenSSH_9.2p1\r\n", b"", NOT_HTTP),
    "a page without a head": (b"<html>hello</html>", b"", NOT_HTTP),
    "RTSP": (b"RTSP/1.0 200 OK\r\n", b"Set-Cookie: secret\r\n\r\n", NOT_HTTP),
    "our own request": (b"POST /secret-path HTTP/1.1\r\nHost: a\r\n\r\n{}", b"", NOT_HTTP),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n", b"Set-Cookie: secret\r\n\r\n", NOT_HTTP),
    "a status in words": (b"HTTP/1.1 OK\r\n", b"\r\n", NOT_HTTP),
}


@pytest.mark.parametrize("kind", NO_HTTP)
async def test_what_is_no_http_is_kept_with_its_first_bytes_and_a_cause_that_names_it(kind: str) -> None:
    """At once, though the connection stays open; of what looks like a head its first line, as others hold cookies.

    The cause holds none of the bytes, as it goes into log lines.
    """
    first, more, cause = NO_HTTP[kind]
    async with server(answering(first + more, hang=True)) as port, sender(timeout=60.0) as sending:
        async with asyncio.timeout(30):
            result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert (result.outcome, result.status_code, result.cause) == (Outcome.CONNECTION_ERROR, None, cause)
    assert result.response_body == first


async def test_of_what_is_no_http_a_bounded_part_is_kept() -> None:
    """1 KiB, or less where bodies are kept up to less."""
    for most, kept in ((16 * 1024, 1024), (100, 100)):
        async with server(answering(b"x" * 5000)) as port, sender(max_response_body=most) as sending:
            result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
        assert (result.response_body, result.body_cut) == (b"x" * kept, True)


async def test_a_delivery_to_a_sloppy_receiver_is_sent_once(service: Service) -> None:
    """The log shows its success, with the answer's headers."""
    service.options["delivery"] = {"retry_schedule": ["0s", "0s"]}
    answer = OK + b"X-Echo : a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"
    async with server(answering(answer)) as port:
        service.migrate()
        service.webhook(f"http://127.0.0.1:{port}/in")
        await service.start()
        service.insert()
        await service.until(lambda: [row["state"] for row in service.log()] == ["succeeded"])
    (row,) = service.log()
    assert (row["status"], row["attempts"], row["tries"]) == ("200", 1, 1)
    (attempt,) = service.detail(row["delivery_id"])["attempt_list"]
    assert ("X-Echo", "a") in attempt["response_headers"]
    assert attempt["response_body"] == "ok"
