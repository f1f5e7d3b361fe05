"""A proxy before a PostgreSQL server that cuts connections at a COMMIT: before the server has it, or before we hear of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum

from ..support.postgres import Outbox

CHUNK = 65536


class Cut(Enum):
    """Where a connection is cut."""

    BEFORE = "before the server has the COMMIT"
    AFTER = "after the server has committed, before its answer arrives"


class CuttingProxy:
    """Passes on what comes by a port of loopback to a server's socket.

    `cut` is asked at each COMMIT of a transaction in which `statement` was sent.
    """

    def __init__(
        self, socket: str, statement: bytes, cut: Callable[[], Cut | None], of: bytes = b"SET fanned_out_at"
    ) -> None:
        self._socket = socket
        self._statement = statement
        self._cut = cut
        self._of = of
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError, OSError):  # the test is over, or the server is away
            await self._connect(client, to_client)

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_unix_connection(self._socket)
        answers = asyncio.create_task(_pass_on(server, to_client))
        asked = asyncio.create_task(self._ask(client, to_server))
        try:
            await asyncio.wait([answers, asked], return_when=asyncio.FIRST_COMPLETED)
            if asked.done() and asked.exception() is None and (data := asked.result()):
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)
                to_server.write(data)
                while (answer := await server.read(CHUNK)) and b"COMMIT" not in answer:
                    pass
        finally:
            for task in (answers, asked):
                task.cancel()
            for writer in (to_client, to_server):
                writer.transport.abort()
            await asyncio.gather(answers, asked, return_exceptions=True)

    async def _ask(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> bytes:
        """Pass on until it is cut; return what the server has to get nevertheless."""
        is_meant, prepared = False, b"COMMIT"  # a connection that has committed twice has that prepared, under a name
        while data := await client.read(CHUNK):
            is_meant = is_meant or self._statement in data
            if name := re.search(rb"(_pg3_[0-9]+\0)COMMIT\0", data):
                prepared = b"\0" + name[1]
            if is_meant and (b"COMMIT" in data or prepared in data):
                is_meant, cut = False, self._cut()
                if cut is not None:
                    return data if cut is Cut.AFTER else b""
            to_server.write(data)
            await to_server.drain()
        return b""


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        target.write(data)
        await target.drain()


@asynccontextmanager
async def cutting(there: Outbox, statement: bytes, cut: Callable[[], Cut | None]) -> AsyncIterator[str]:
    """Run a proxy before an outbox's server; yields the URL by which it is reached."""
    proxy = CuttingProxy(str(there.server.folder / ".s.PGSQL.5432"), statement, cut)
    await proxy.open()
    try:
        yield f"postgresql://postgres@127.0.0.1:{proxy.port}/{there.database}"
    finally:
        proxy.close()
