"""Connections to receivers: opened if the policy allows the address, and kept for the next request."""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import ssl
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from ..model import Claim, Headers
from ..rules.proxies import Proxy
from ..rules.urls import Blocked, Policy, is_allowed, is_name_allowed
from .causes import OUT_OF_FILES, NotSecure
from .dialling import dial
from .exchange import Connection
from .resolver import Resolver
from .tls import Tls
from .tunnels import Tunnels

KEEP_ALIVE = 4.0  # seconds; many servers close at 5
SWEEP = 1.0  # seconds between two checks for connections that were idle for longer
MOST_IDLE = 2048
EVICTED = 8  # idle connections to close when no file can be opened: as many as one dial may need
MOST_DESTINATIONS = 16_384
_PATH = re.compile(r"[!-~]+")


class Destination(NamedTuple):
    """The parts of a request that are the same for all requests to one URL."""

    host: str
    port: int
    secure: bool
    line: bytes

    @property
    def key(self) -> tuple[str, int, bool]:
        """Identifies the connections that can carry its requests."""
        return self[:3]


class Pool:
    """Opens connections, and keeps at most `most_idle` idle ones for `KEEP_ALIVE` seconds.

    Bodies are read up to `most_body` bytes. With a `proxy` the connections for `https` are tunnels through it. Everything runs on the event loop.
    """

    def __init__(
        self,
        policy: Policy,
        tls: Tls,
        resolver: Resolver,
        *,
        most_body: int,
        most_idle: int = MOST_IDLE,
        proxy: Proxy | None = None,
    ) -> None:
        self._policy = policy
        self._tls = tls
        self._resolver = resolver
        self._tunnels = Tunnels(proxy, resolver) if proxy is not None else None
        self._most_body = most_body
        self._most_idle = most_idle
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Connection, None] = {}  # the longest idle first
        self._by_key: dict[object, dict[Connection, None]] = {}  # the same order
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    async def close(self) -> None:
        """Close every idle connection, and keep none from now on."""
        self._most_idle = 0
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.evict(len(self._idle))

    def take(self, destination: Destination) -> Connection | None:
        """Return the connection that became idle last, or None if one has to be opened."""
        while idle := self._by_key.get(destination.key):
            connection = next(reversed(idle))
            self._forget(connection)
            if connection.is_open and time.monotonic() - connection.idle_since <= KEEP_ALIVE:
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection if its last answer allows that, else close it."""
        if not connection.may_keep:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle[connection] = None
        self._by_key.setdefault(connection.key, {})[connection] = None
        if len(self._idle) > self._most_idle:
            self._close_oldest()
        if self._idle and self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)

    async def open(self, destination: Destination, *, once: bool, until: float) -> Connection:
        """Open a connection until a monotonic time; it is not kept if it is for `once`.

        Raises `OSError` (`Blocked`, `NoTunnel`, `TimeoutError`, of DNS, of TLS, …).
        If no file can be opened, it closes the oldest idle connections and tries again.
        """
        try:
            return await self._open(destination, once, until)
        except OSError as error:
            if error.errno not in OUT_OF_FILES or not await self.evict(EVICTED):
                raise
        return await self._open(destination, once, until)

    async def evict(self, count: int) -> int:
        """Close up to `count` of the oldest idle connections; return how many file descriptors that has freed."""
        evicted = [self._close_oldest() for _ in range(min(count, len(self._idle)))]
        for connection in evicted:
            await connection.closed()
        return len(evicted)

    def forget_names(self) -> None:
        """Look names up again at the next connection."""
        self._resolver.forget()

    async def _open(self, destination: Destination, once: bool, until: float) -> Connection:
        opened = await self._reach(destination, until)
        async with asyncio.timeout(until - time.monotonic()):
            return await self._connect(destination, once, opened)

    async def _reach(self, destination: Destination, until: float) -> socket.socket:
        """Return a socket whose bytes go to the receiver. Loopback `http`, the only `http`, goes past a proxy."""
        host, port, secure, _ = destination
        within = until - time.monotonic()
        if self._tunnels is not None and secure:
            if not is_name_allowed(host, port, self._policy):
                raise Blocked
            return await self._tunnels.open(host, port, within)
        async with asyncio.timeout(within):
            addresses = await self._resolver.resolve(host, port)
            return await dial(addresses, lambda address, dialled: is_allowed(address, dialled, self._policy))

    async def _connect(self, destination: Destination, once: bool, opened: socket.socket) -> Connection:
        host, _, secure, _ = destination
        try:
            transport, connection = await self._loop.create_connection(
                lambda: Connection(destination.key, self._most_body, once=once),
                sock=opened,
                ssl=self._tls.context(host) if secure else None,
                server_hostname=host if secure else None,
            )
        except BaseException as error:
            opened.close()
            if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno is None:
                raise NotSecure from None
            raise
        try:
            if secure:
                self._tls.check(host, transport.get_extra_info("peercert"))
        except OSError:
            connection.close()
            raise
        return connection

    def _forget(self, connection: Connection) -> None:
        del self._idle[connection]
        idle = self._by_key[connection.key]
        del idle[connection]
        if not idle:
            del self._by_key[connection.key]

    def _close_oldest(self) -> Connection:
        oldest = next(iter(self._idle))
        self._forget(oldest)
        oldest.close()
        return oldest

    def _sweep(self) -> None:
        self._sweeper = None
        before = time.monotonic() - KEEP_ALIVE
        while self._idle and next(iter(self._idle)).idle_since < before:
            self._close_oldest()
        if self._idle:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)


@functools.lru_cache(MOST_DESTINATIONS)
def destination_of(url: str) -> Destination:
    """Split a URL. Raises `ValueError` if no request can be made to it."""
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"
    if not _PATH.fullmatch(path) or not parts.hostname:
        raise ValueError(url)
    secure = parts.scheme == "https"
    return Destination(
        parts.hostname, parts.port or (443 if secure else 80), secure, f"POST {path} HTTP/1.1\r\n".encode()
    )


def write(destination: Destination, claim: Claim) -> bytes:
    """Return the bytes of a signed claim's request. Raises `ValueError` for a header that holds a line break.

    The URL, from which `Host` is made, cannot: `urlsplit` leaves them out.
    """
    own = claim.webhook_headers
    if not (claim.event_type.isprintable() and claim.delivery_id.isprintable()) or (own and _are_broken(own)):
        raise ValueError("a header holds a line break, or what no event type and no id has")
    return b"%b%b\r\n%b" % (destination.line, claim.head.encode(), claim.body)


def _are_broken(headers: Headers) -> bool:
    return any(line in text for header in headers for text in header for line in "\r\n")
