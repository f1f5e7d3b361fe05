"""Connections to receivers: kept in pools, opened within the policy, a POST's bytes out and an answer's head back.

aiohttp opens and keeps the connections and parses the answers. Its session is left out: it builds anew for each request
what is the same for all requests to one URL, and took half of the time of a delivery.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from typing import Any, NamedTuple

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from .answers import AnswerHandler
from .egress import Blocked, Policy, is_allowed
from .model import Headers
from .resolver import Resolver

KEEP_ALIVE = 4.0  # seconds; many servers close at 5
MOST_TARGETS = 4096
_NO_LIMIT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


class Target(NamedTuple):
    """What is the same for all requests to one URL."""

    request: ClientRequest  # never sent: by it a connector knows where to connect, and how
    line: bytes


class Connections:
    """Two pools, of connections that are kept and of fresh ones, each used once."""

    def __init__(self, policy: Policy, tls: ssl.SSLContext, resolver: Resolver) -> None:
        self._policy = policy
        self._tls = tls
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._kept = self._open_connector(keepalive_timeout=KEEP_ALIVE)
        self._fresh = self._open_connector(force_close=True)
        self.target = functools.lru_cache(MOST_TARGETS)(self._target)

    async def close(self) -> None:
        """Close every connection."""
        await self._kept.close()
        await self._fresh.close()

    async def kept(self, target: Target) -> Connection | None:
        """Return a kept connection without waiting, or None when one has to be opened."""
        return await self._kept._get(target.request.connection_key, [])

    async def connect(self, target: Target, *, fresh: bool) -> Connection:
        """Return a kept connection, or open one; raises an error of aiohttp's, or `Blocked` within one."""
        return await (self._fresh if fresh else self._kept).connect(target.request, [], _NO_LIMIT)

    def forget_names(self) -> None:
        """Ask DNS again at the next connection."""
        self._kept.clear_dns_cache()

    def _target(self, url: str) -> Target:
        parsed = URL(url, encoded=True)
        request = ClientRequest("POST", parsed, loop=self._loop, ssl=self._tls)
        return Target(request, f"POST {parsed.raw_path_qs} HTTP/1.1\r\n".encode("ascii"))

    def _open_connector(self, **options: Any) -> aiohttp.TCPConnector:
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls,
            resolver=self._resolver,
            ttl_dns_cache=10,
            socket_factory=self._open_socket,
            **options,
        )
        # The one seam that aiohttp has for this is private; tests hold that the bounds are in force.
        factory: Any = functools.partial(AnswerHandler, loop=self._loop)
        connector._factory = factory
        return connector

    def _open_socket(self, info: Any) -> socket.socket:
        """Check the very address that is about to be dialled; literals come here without a resolver."""
        family, kind, proto, _, where = info
        if not is_allowed(str(where[0]), int(where[1]), self._policy):
            raise Blocked
        opened = socket.socket(family, kind, proto)
        opened.setblocking(False)
        return opened


def was_used(connection: Connection) -> bool:
    """Tell whether a connection has carried a request before."""
    handler: Any = connection.protocol
    return bool(handler.was_used)


def is_closed(connection: Connection) -> bool:
    """Tell whether a connection has closed since it was taken."""
    handler: Any = connection.protocol
    return not handler.is_connected()


def write(target: Target, headers: Headers, body: bytes) -> bytes:
    """Write a request as it goes over the wire; raises `ValueError` for a header that would be two."""
    head = "".join([f"{name}: {value}\r\n" for name, value in headers])
    if not head.count("\r") == head.count("\n") == len(headers):
        raise ValueError("a header holds a line break")
    return b"%b%b\r\n%b" % (target.line, head.encode(), body)


async def exchange(connection: Connection, request: bytes) -> tuple[RawResponseMessage, StreamReader]:
    """Make a request and wait for the head of its answer; what is left of a request that was not read closes with it."""
    handler: Any = connection.protocol
    handler.begin()
    if handler.transport is not None:
        handler.transport.write(request)
    message, content = await handler.read()
    if handler.transport is not None and handler.transport.get_write_buffer_size():
        handler.force_close()
    return message, content
