"""Answers put together from odd parts, and broken: none of them is an error of ours, and none leaves a connection."""

from __future__ import annotations

import asyncio
import random

import pytest

from almirant_webhooks.model import Outcome

from ..support.hostile import read_request, server
from .test_hostile import open_sockets
from .test_sender import LIMIT, claim, sender

STATUS = (
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 X\r\n", b"HTTP/1.1 429 X\r\n", b"HTTP/1.0 200\r\n", b"HTTP/1.1 100 C\r\n\r\n",
    b"HTTP/1.1 204 N\r\n", b"HTTP/1.1 304 N\r\n", b"HTTP/1.1 101 S\r\n", b"HTTP/2 200 OK\r\n", b"HTTP/9.9 200 OK\r\n",
    b"HTTP/1.1 199 \r\n", b"ICY 200 OK\r\n", b"\r\n\r\n",
)  # fmt: skip
HEADERS = (
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Content-Encoding: br\r\n",
    b"Retry-After: Mon, 32 Foo 99999 99:99:99 +9999\r\n", b"Retry-After: 1e999\r\n", b"Retry-After: \xc2\xb2\r\n",
    b"Retry-After: Thu, 01 Jan 1970 00:00:00 -0000\r\n", b"Retry-After: " + b"(" * 5000 + b"\r\n",
    b"Set-Cookie: " + b'a="' * 3000 + b"\r\n", b"X: \xff\xfe\r\n", b" folded: x\r\n", b"X : y\r\n", b": empty\r\n",
    b"NoColon\r\n", b"X: a\rb\r\n", b"X: a\nb\r\n", b"Location: http://[::1\r\n", b"Keep-Alive: timeout=99999999\r\n",
    b"Content-Type: text/html; charset=" + b"x" * 500 + b"\r\n", b"Trailer: X\r\n",
)  # fmt: skip
BODIES = (
    b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\n", b"0\r\nX: y\r\n\r\n", b"-1\r\n", b"", b"x" * 70_000,
    b"5;a=b\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", b"\x1f\x8b\x08" + b"\0" * 50, b"5\nhello\n0\n\n",
)  # fmt: skip


def answer(chance: random.Random) -> bytes:
    """An answer of odd parts, three in ten with a few bytes of it changed, one in ten no answer at all."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(2000))
    made = bytearray(chance.choice(STATUS) + b"".join(chance.choices(HEADERS, k=chance.randrange(5))))
    made += chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"\r\n\r\n")) + chance.choice(BODIES)
    if chance.random() < 0.3:
        for _ in range(chance.randrange(1, 6)):
            made[chance.randrange(len(made))] = chance.choice((0, 10, 13, 32, 58, 255))
    return bytes(made)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_no_answer_is_an_error_of_ours(seed: int) -> None:
    """Whole or in pieces, closed, reset or left open: each ends in a result within the limit."""
    chance = random.Random(seed)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            sent = answer(chance)
            cut = chance.randrange(len(sent) + 1)
            writer.write(sent[:cut])
            await asyncio.sleep(0)
            writer.write(sent[cut:])
            ending = chance.random()
            if ending < 0.3:
                return
            if ending < 0.4:
                writer.transport.abort()
                return

    before = open_sockets()
    async with server(serve) as port, sender() as sending:
        for begin in range(0, 300, 150):
            claims = [claim(f"http://127.0.0.1:{port}/", f"dlv_{begin + number}") for number in range(150)]
            results = await asyncio.gather(*(sending.send(attempt) for attempt in claims))
            assert all(attempt.outcome is not Outcome.BLOCKED for attempt in results)
            assert max(attempt.duration_ms for attempt in results) < LIMIT * 1000 + 2000
    async with asyncio.timeout(10):
        while open_sockets() > before:
            await asyncio.sleep(0.01)
