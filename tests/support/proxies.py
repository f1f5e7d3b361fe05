"""HTTP proxies: one of our own that notes what it is sent, ones that answer CONNECT as told, and Debian's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from . import needs
from .hostile import Serve, server
from .ports import free_port

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def relaying(heads: list[bytes]) -> Serve:
    """Open the tunnels that are asked for; note the head of each CONNECT."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        host, _, port = heads[-1].split()[1].decode().rpartition(":")
        there, back = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(ESTABLISHED)
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.close()

    return serve


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    target.close()


def saying(answer: bytes, *, hang: bool = False) -> Serve:
    """Answer each CONNECT with these bytes, then close or hang."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if hang:
            await asyncio.Event().wait()

    return serve


@contextlib.asynccontextmanager
async def proxy(serve: Serve) -> AsyncIterator[str]:
    """A proxy on loopback that does with each connection what `serve` does; yields its URL."""
    async with server(serve) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def tinyproxy(folder: Path, *lines: str) -> AsyncIterator[int]:
    """Debian's tinyproxy with further lines of configuration; yields its port."""
    port = free_port()
    configuration = folder / "tinyproxy.conf"
    configuration.write_text("\n".join((f"Port {port}", "Listen 127.0.0.1", "Timeout 20", *lines, "")))
    async with running([needs.program("tinyproxy"), "-d", "-c", str(configuration)], folder / "tinyproxy.out", port):
        yield port


@contextlib.asynccontextmanager
async def running(command: list[str], out: Path, port: int, host: str = "127.0.0.1") -> AsyncIterator[None]:
    """A program, once it listens."""
    with out.open("wb") as file:
        process = await asyncio.create_subprocess_exec(*command, stdout=file, stderr=file)
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, port)
                except OSError:
                    assert process.returncode is None, out.read_text()
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                break
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
