"""Receivers that do what no good one does, by name, on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import uvloop

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BLOCK = 2**16


@asynccontextmanager
async def server(
    serve: Serve, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """A raw server on a port, by default a free one, of loopback that does with each connection what `serve` does."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    there = await asyncio.start_server(connected, host, port, ssl=tls, backlog=1024)
    try:
        yield there.sockets[0].getsockname()[1]
    finally:
        there.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read a request and its body; return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    return head


def answering(*parts: bytes, repeat: bytes = b"", hang: bool = False, drip: bytes = b"") -> Serve:
    """Answer with these bytes, then the repeated ones for ever, then close or hang; `drip` comes byte by byte."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for part in itertools.chain(parts, itertools.repeat(repeat) if repeat else ()):
            if reader.at_eof() or reader.exception():  # a write to a connection that is gone raises nothing
                return
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        for number in itertools.count() if drip else ():
            writer.write(drip[number % len(drip) :][:1])
            await asyncio.sleep(0.05)
        if hang:
            await asyncio.Event().wait()

    return serve


def _resetting(*parts: bytes) -> Serve:
    """Answer with these bytes and reset the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if parts:
            await asyncio.sleep(0.05)  # a reset takes back what has not been read yet
        opened = writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return serve


async def _never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's transports of sockets can
    await asyncio.Event().wait()


async def _closes_kept_connections(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request; read the second, and close."""
    await read_request(reader)
    writer.write(OK + b"Content-Length: 0\r\n\r\n")
    with suppress(asyncio.IncompleteReadError):
        await read_request(reader)


BOMB = gzip.compress(b"\0" * 10_000_000, compresslevel=9)
HEADER_100_MB = [OK, b"X-Long: ", *([b"x" * 2**20] * 100), b"\r\n\r\n"]
KINDS: dict[str, Serve] = {
    "never answers": answering(hang=True),
    "never reads": _never_reads,
    "drips its head": answering(OK, drip=b"X-Drip: 1\r\n"),
    "sends a status line and hangs": answering(OK, hang=True),
    "endless headers": answering(OK, repeat=b"X-Endless: 1\r\n" * 4096),
    "endless long headers": answering(OK, repeat=b"X: " + b"x" * 60_000 + b"\r\n"),
    "a head that never ends": answering(OK + b"".join(b"X-%d: " % n + b"x" * 500 + b"\r\n" for n in range(480)), hang=True),
    "an endless header": answering(OK + b"X-Long: ", repeat=b"x" * BLOCK),
    "an endless status line": answering(b"HTTP/1.1 200 ", repeat=b"O" * BLOCK),
    "a header of 100 MB": answering(*HEADER_100_MB),
    "empty lines for ever": answering(repeat=b"\r\n" * 2**15),
    "1xx for ever": answering(repeat=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1024),
    "drips 1xx": answering(drip=b"HTTP/1.1 100 Continue\r\n\r\n"),
    "drips its body": answering(OK + b"\r\n", drip=b"y"),
    "an endless body": answering(OK + b"\r\n", repeat=b"y" * BLOCK),
    "an endless chunked body": answering(CHUNKED, repeat=b"10000\r\n" + b"y" * BLOCK + b"\r\n"),
    "chunks of one byte": answering(CHUNKED, repeat=b"1;" + b"e" * 1000 + b"\r\ny\r\n"),
    "an endless chunk extension": answering(CHUNKED + b"1;", repeat=b"e" * BLOCK),
    "endless trailers": answering(CHUNKED + b"0\r\n", repeat=b"X-Trailer: " + b"t" * 60_000 + b"\r\n"),
    "a gzip bomb": answering(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "a malformed status line": answering(b"HTTP/1.1 abc\r\n\r\n"),
    "a status of 999": answering(b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"),
    "a status of 000": answering(b"HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n"),
    "a malformed chunk with the head": answering(CHUNKED + b"zz\r\n", hang=True),
    "a malformed chunk": answering(CHUNKED + b"3\r\nabc\r\n", b"zz\r\n", hang=True),
    "a length that is no number": answering(OK + b"Content-Length: x\r\n\r\n"),
    "two lengths": answering(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "HTTP/0.9": answering(b"<html>hello</html>"),
    "HTTP/2": answering(b"\0\0\x12\4\0\0\0\0\0" + b"\0" * 18, hang=True),
    "TLS where HTTP is spoken": answering(b"\x15\x03\x01\x00\x02\x02\x46"),
    "a header with a NUL": answering(OK + b"X-Nul: a\0b\r\nContent-Length: 0\r\n\r\n"),
    "closes before an answer": answering(),
    "closes in the head": answering(OK + b"X-Half: "),
    "closes in the body": answering(OK + b"Content-Length: 10\r\n\r\nabc"),
    "closes in a chunk": answering(CHUNKED + b"10\r\nabc"),
    "resets": _resetting(),
    "resets in the head": _resetting(OK),
    "resets in the body": _resetting(OK + b"Content-Length: 10\r\n\r\nabc"),
    "two answers to one request": answering((OK + b"Content-Length: 2\r\n\r\nok") * 2, hang=True),
    "switches protocols": answering(b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", repeat=b"z" * BLOCK),
    "redirects inward": answering(b"HTTP/1.1 302 F\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"),
    "redirects to itself": answering(b"HTTP/1.1 307 T\r\nLocation: /in\r\nContent-Length: 0\r\n\r\n"),
    "closes kept connections": _closes_kept_connections,
}  # fmt: skip


@contextmanager
def all_of_them(certificate: Path | None = None) -> Iterator[dict[str, int]]:
    """Run every kind in a process of its own; yields the port of each."""
    command = [sys.executable, "-m", "tests.support.hostile", *([str(certificate)] if certificate else [])]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


async def _serve_all(certificate: str | None) -> None:
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    async with AsyncExitStack() as stack:
        ports = {kind: await stack.enter_async_context(server(serve, tls)) for kind, serve in KINDS.items()}
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # clients that went away
        print(json.dumps(ports), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_all(sys.argv[1] if len(sys.argv) > 1 else None))
