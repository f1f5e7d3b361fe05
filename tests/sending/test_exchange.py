"""One exchange over a real connection, fed with every kind of bytes, cut everywhere: always an end, never a wrong one."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almirant_webhooks.sending.answers import Answer
from almirant_webhooks.sending.causes import Failure
from almirant_webhooks.sending.exchange import Connection, End
from almirant_webhooks.sending.lenient import framing

MOST = 64
LONG = 60.0  # seconds; no test waits for it
REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
RECORDED = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 27 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 3\r\nConnection: keep-alive\r\n\r\nok\n",
    b"HTTP/1.1 502 Bad Gateway\r\nServer: cloudflare\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n"
    b"Set-Cookie: __cf_bm=x; path=/\r\n\r\n1b\r\n<html><h1>502</h1></html>\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 11\r\n"
    b'ETag: W/"b-Ai2R8hgEarLmHKwesT1qcY913ys"\r\nKeep-Alive: timeout=5\r\n\r\n{"ok":true}',
    b"HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.11.7\r\nContent-Type: text/html\r\n\r\n<p>thanks",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nServer: Microsoft-IIS/10.0\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 2\nContent-Length: 2\nX-Echo : a\n folded\n\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2;a=b\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
    b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80\0\4\0\1\0\0\0\5\0\xff\xff\xff",
    b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
)


class Wire:
    """A connection of ours, and the receiver's end of it."""

    async def open(self, most: int = MOST) -> Connection:
        ours, self.theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        self.errors: list[object] = []
        loop.set_exception_handler(lambda _, context: self.errors.append(context))
        _, self.connection = await loop.create_connection(lambda: Connection("key", most, once=False), sock=ours)
        return self.connection

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Have each piece read before the next is sent; after an end nobody may be there to take it."""
        self.theirs.recv(len(REQUEST))  # what is closed with something unread is reset
        for piece in pieces:
            with suppress(OSError):
                self.theirs.sendall(piece)
            await self.read()

    async def read(self) -> None:
        for _ in range(3):  # turns of the loop: to see it, to read it, to tell of it
            await asyncio.sleep(0)

    def reset(self) -> None:
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.theirs.close()

    async def close(self) -> None:
        self.theirs.close()
        self.connection.close()
        await self.connection.closed()


@asynccontextmanager
async def wired(most: int = MOST) -> AsyncIterator[tuple[Wire, Connection]]:
    """A wire that is closed in any case, and that no error of ours came out of."""
    wire = Wire()
    connection = await wire.open(most)
    try:
        yield wire, connection
    finally:
        await wire.close()
    assert wire.errors == []


async def _ended(pieces: Sequence[bytes], ending: str = "close", most: int = MOST) -> End:
    """Return the end of an exchange whose answer comes in these pieces and is then closed, reset or left open."""
    async with wired(most) as (wire, connection):
        end = connection.exchange(REQUEST, LONG)
        await wire.send(pieces)
        if ending == "open":
            connection.time_out()
        else:
            wire.reset() if ending == "reset" else wire.theirs.close()
        async with asyncio.timeout(20):
            return await end


def ended(pieces: Sequence[bytes], ending: str = "close", most: int = MOST) -> End:
    return asyncio.run(_ended(pieces, ending, most))


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges) if begin < end]


class Made(NamedTuple):
    """An answer as it goes over the wire, and what it says."""

    wire: bytes
    status: int
    body: bytes
    keeps: bool


@st.composite
def answers(draw: st.DrawFn) -> Made:
    """Answers that are valid HTTP, their bodies framed in each way."""
    status = draw(st.sampled_from([200, 201, 204, 304, 400, 503, 999]))
    body = b"" if status in (204, 304) else draw(st.binary(max_size=MOST + 10))
    head = b"".join(
        draw(st.lists(st.sampled_from([b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 103 E\r\nLink: x\r\n\r\n"]), max_size=2))
    )
    head += b"HTTP/1.1 %03d %b\r\n" % (status, draw(st.sampled_from([b"", b"OK", b"Not \xe9 word"])))
    head += b"".join(
        draw(st.lists(st.sampled_from([b"X-A: b\r\n", b"Date: x\r\n", b"X-Empty:\r\n", b"X: \xff\r\n"]), max_size=3))
    )
    kind = draw(st.sampled_from(["length", "chunked", "close"]))
    closes = draw(st.booleans())
    head += b"Connection: close\r\n" if closes else b""
    if status in (204, 304):
        return Made(head + b"\r\n", status, b"", not closes)
    if kind == "length":
        return Made(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), status, body, not closes)
    if kind == "close":
        return Made(head + b"\r\n" + body, status, body, False)
    pieces = cut(body, draw(st.lists(st.integers(0, 1000), max_size=4)))
    extension = draw(st.sampled_from([b"", b";a=b", b';q="x;y"']))
    trailer = draw(st.sampled_from([b"", b"X-Sum: 1\r\n"]))
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return Made(head + b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (chunks, trailer), status, body, not closes)


_places = st.lists(st.integers(0, 10_000), max_size=6)


@settings(deadline=None)
@given(answers(), _places)
def test_a_valid_answer_is_read_as_it_is_however_it_is_cut(made: Made, places: list[int]) -> None:
    """Its status, and its body up to the limit, which says whether it is whole."""
    end = ended(cut(made.wire, places))
    assert isinstance(end, Answer), end
    assert (end.status, end.body, end.whole) == (made.status, made.body[:MOST], len(made.body) <= MOST)


@pytest.mark.parametrize("ending", ["close", "open"])
def test_a_chunked_body_is_whole_whatever_edge_it_is_cut_at(ending: str) -> None:
    """In two at each place, and byte by byte; where the end is still missing it says so."""
    head, body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\n\r\n"
    whole = head + body
    for place in range(1, len(whole)):
        end = ended([whole[:place], whole[place:]], ending)
        assert isinstance(end, Answer), (place, end)
        assert (end.body, end.whole) == (b"wikipedia", True), place
    byte_by_byte = ended([whole[at : at + 1] for at in range(len(whole))], "close")
    assert isinstance(byte_by_byte, Answer)
    assert (byte_by_byte.body, byte_by_byte.whole) == (b"wikipedia", True)
    for missing in range(1, len(body)):
        end = ended([whole[:-missing]], ending)
        assert isinstance(end, Answer), (missing, end)
        assert b"wikipedia".startswith(end.body), missing
        assert not end.whole, missing


@settings(deadline=None)
@given(answers(), _places, st.sampled_from([b"", b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"\0", b"H"]), answers())
def test_a_connection_is_kept_only_when_nothing_is_left_of_its_answer(
    first: Made, places: list[int], more: bytes, second: Made
) -> None:
    """What comes behind an answer never becomes the answer to the next request."""

    async def both() -> None:
        async with wired() as (wire, connection):
            end = connection.exchange(REQUEST, LONG)
            await wire.send(cut(first.wire + more, places))
            if not end.done():
                assert not first.keeps  # its body ends with the connection
                return
            keeps = first.keeps and len(first.body) <= MOST and not more
            assert connection.may_keep == connection.is_open == keeps
            if keeps:
                following = connection.exchange(REQUEST, LONG)
                await wire.send([second.wire])
                wire.theirs.close()
                answer = await following
                assert isinstance(answer, Answer)
                assert (answer.status, answer.body) == (second.status, second.body[:MOST])

    asyncio.run(both())


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """Answers that receivers gave, and what a few changes of their bytes make of them."""
    data = bytearray(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 12))
        put = draw(
            st.sampled_from(
                [b"", b"\0", b"\r", b"\n", b" ", b":", b"\r\n\r\n", b"\xff", b"9", bytes(data[at : at + length])]
            )
        )
        data[at : at + draw(st.sampled_from([0, length]))] = put
    return bytes(data)


@settings(deadline=None, max_examples=300)
@given(mutations() | st.binary(max_size=300), _places, st.sampled_from(["close", "reset", "open"]))
def test_no_bytes_are_an_error_of_ours(data: bytes, places: list[int], ending: str) -> None:
    """Recorded answers with changes, and any bytes at all: each ends in an answer or in a cause."""
    end = ended(cut(data, places), ending)
    if isinstance(end, Answer):
        assert 0 <= end.status <= 999
        assert len(end.body) <= MOST
    else:
        assert isinstance(end, Failure)
        assert end.cause


@pytest.mark.long
@settings(deadline=None, max_examples=300)
@given(mutations(), _places)
def test_how_an_answer_is_cut_changes_nothing(data: bytes, places: list[int]) -> None:
    """Neither what is read strictly nor what is read as it comes: the same end as in one piece."""
    whole, pieces = ended([data] if data else []), ended(cut(data, places))
    if isinstance(whole, Failure):
        assert isinstance(pieces, Failure)
        assert (pieces.outcome, pieces.cause) == (whole.outcome, whole.cause)
        return
    assert isinstance(pieces, Answer)
    assert (pieces.status, pieces.fields) == (whole.status, whole.fields)
    if framing(whole.fields) is not None and whole.status != 101:
        assert (pieces.body, pieces.whole) == (whole.body, whole.whole)


def test_a_time_limit_that_is_over_takes_what_has_come() -> None:
    """Before it gives up: an answer that lies in the socket when the limit ends is an answer."""

    async def late() -> End:
        async with wired() as (wire, connection):
            end = connection.exchange(REQUEST, 0.0)
            await asyncio.sleep(0)  # the limit is over, and nothing has been read yet
            wire.theirs.sendall(RECORDED[0])
            return await end

    end = asyncio.run(late())
    assert isinstance(end, Answer)
    assert end.status == 200
