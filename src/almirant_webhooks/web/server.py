"""The application's server: sockets of its own, a bound on connections, and an end that waits for no client."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import suppress
from typing import Any

from aiohttp import web

from ..model import Refused
from ..ops.threads import Threads

BACKLOG = 128
LAST_ANSWERS = 0.25  # seconds that the end waits for requests under way, and once more for their handlers' own ends
UNREAD = 60  # seconds after which the kernel closes a connection whose client does not read
_NOT_HERE = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}  # the machine has no IPv6, say


class Server:
    """Serves an application; of `max_connections` connections it has already, one more is closed at once.

    Many of them must not take the files that deliveries need.
    """

    def __init__(self, app: web.Application, max_connections: int) -> None:
        # What aiohttp would say of requests that it cannot parse has their bytes in it, tokens and links too.
        silent = logging.Logger("aiohttp.server", logging.CRITICAL)
        # A compression that aiohttp does not know would end the connection with a text of its own; `bodies` reads them.
        self._runner = web.AppRunner(
            app, access_log=None, logger=silent, shutdown_timeout=LAST_ANSWERS, auto_decompress=False
        )
        self._most = max_connections
        self._listeners: list[asyncio.Server] = []
        self.addresses: list[tuple[str, int]] = []

    async def open(self, host: str, port: int, threads: Threads) -> None:
        """Listen on every address of a host; raises `Refused`."""
        await self._runner.setup()
        try:
            for place in await _addresses(host, port, threads):
                with suppress(_NotHere):
                    listening = _listen(*place)
                    self.addresses.append(listening.getsockname()[:2])
                    self._listeners.append(await asyncio.get_running_loop().create_server(self._accept, sock=listening))
            if not self.addresses:
                raise OSError("this machine does not have that address")
        except OSError as error:
            raise Refused(
                f"admin.listen = {host}:{port} cannot be opened ({error.strerror or error}): another program may have "
                "that port. Choose another, or '' for none."
            ) from None

    async def close(self) -> None:
        """Take no more requests, and let those under way end."""
        for listener in self._listeners:
            listener.close()
        await self._runner.cleanup()

    def _accept(self) -> asyncio.BaseProtocol:
        server: Any = self._runner.server
        return server() if len(server.connections) < self._most else _Refusal()


class _NotHere(Exception):
    pass


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close a connection that is one too many."""
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


async def _addresses(host: str, port: int, threads: Threads) -> list[tuple[socket.AddressFamily, Any]]:
    """Look a host up by our own thread: those of uvloop end the process where they cannot be started."""
    addresses = await threads.call(
        socket.getaddrinfo, host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
    ).future
    return list(dict.fromkeys((family, where) for family, _, _, _, where in addresses))


def _listen(family: socket.AddressFamily, where: Any) -> socket.socket:
    try:
        listening = socket.create_server(where, family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno in _NOT_HERE:
            raise _NotHere from None
        raise
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD * 1000)  # its connections inherit it
    return listening
