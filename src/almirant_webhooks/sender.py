"""One claim, one POST, one Result: the only place that makes outgoing requests."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from . import answers, clock
from .egress import BLOCKED, Blocked, Policy, is_allowed, is_local_url
from .model import Claim, Misconfigured, Outcome, Result

NAME_NOT_FOUND = "the host name was not found"
NO_ROUTE = "no route to the host"
_STALE = "a kept connection was closed before an answer"
_ERRNO_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ENETUNREACH: NO_ROUTE,
    errno.EHOSTUNREACH: NO_ROUTE,
    errno.ENETDOWN: NO_ROUTE,
    errno.ETIMEDOUT: "connecting took too long",
}
DNS_THREADS = 32
KEEP_ALIVE = 4.0  # seconds; many servers close at 5


class _Resolver(AbstractResolver):
    """getaddrinfo on threads of its own, so that names that never answer keep nobody else's threads busy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name that may be dialled; raises `Blocked` when it has others alone."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        )
        allowed = [
            ResolveResult(
                hostname=host, host=str(where[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, where in found
            if is_allowed(str(where[0]), port, self._policy)
        ]
        if not allowed:
            raise Blocked
        return allowed

    async def close(self) -> None:
        """Let the threads go without waiting for names that never answer."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Sender:
    """Makes requests within the policy and the time limit (seconds); bodies of answers are kept up to a size (bytes).

    `stalled(begin, end)` tells whether our own loop stood still between two monotonic times.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        timeout: float,
        max_response_body: int,
        ca_file: str = "",
        stalled: Callable[[float, float], bool] = lambda begin, end: False,
    ) -> None:
        self._policy = policy
        self._timeout = timeout
        self._max_response_body = max_response_body
        self._stalled = stalled
        self._tls = _tls_context(ca_file)
        self._use_fresh: set[str] = set()

    async def start(self) -> None:
        """Open the pools of connections."""
        self._resolver = _Resolver(self._policy)
        self._session = self._open_session(keepalive_timeout=KEEP_ALIVE)
        self._fresh_session = self._open_session(force_close=True)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
        await self._fresh_session.close()
        await self._resolver.close()

    def _open_session(self, **options: Any) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=self._tls,
            resolver=self._resolver,
            ttl_dns_cache=10,
            socket_factory=self._open_socket,
            **options,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            max_line_size=65_536,
            max_field_size=65_536,
            max_headers=512,
            trace_configs=[trace],
        )

    def _open_socket(self, info: Any) -> socket.socket:
        """Check the very address that is about to be dialled; literals come here without a resolver."""
        family, kind, proto, _, where = info
        if not is_allowed(str(where[0]), int(where[1]), self._policy):
            raise Blocked
        opened = socket.socket(family, kind, proto)
        opened.setblocking(False)
        return opened

    async def send(self, claim: Claim) -> Result:
        """Make one attempt; whatever the receiver does comes back as a Result within the time limit."""
        begin = time.monotonic()
        if is_local_url(claim.url) and not self._policy.allow_localhost:
            return self._failed(claim, begin, Outcome.BLOCKED, BLOCKED)
        reused = SimpleNamespace(connection=False)
        fresh = claim.delivery_id in self._use_fresh
        self._use_fresh.discard(claim.delivery_id)
        session = self._fresh_session if fresh else self._session
        try:
            async with asyncio.timeout(self._timeout):
                response = await session.request(
                    "POST",
                    URL(claim.url, encoded=True),
                    data=claim.body,
                    headers=CIMultiDict(claim.headers),
                    allow_redirects=False,
                    trace_request_ctx=reused,
                )
        except TimeoutError:
            if self._stalled(begin, time.monotonic()):
                return self._failed(claim, begin, Outcome.INTERRUPTED, "the daemon itself stood still")
            return self._failed(claim, begin, Outcome.TIMEOUT, f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            outcome, cause = _explain(error, reused=reused.connection)
            if outcome is Outcome.INTERRUPTED:
                self._use_fresh.add(claim.delivery_id)
            return self._failed(claim, begin, outcome, cause)
        return await self._answered(claim, begin, response)

    async def _answered(self, claim: Claim, begin: float, response: aiohttp.ClientResponse) -> Result:
        duration = time.monotonic() - begin
        finished_at = clock.now()
        status = response.status
        body, cut = await answers.read_body(response, self._max_response_body, begin + self._timeout)
        success = 200 <= status <= 299
        later = None
        if status in (429, 503):
            later = answers.retry_after(response.headers.get("Retry-After"), finished_at)
        return Result(
            claim,
            Outcome.SUCCESS if success else Outcome.HTTP_ERROR,
            clock.now(),
            round(duration * 1000),
            status_code=status,
            cause=None if success else _status_words(status),
            retry_after=later,
            response_headers=answers.keep_headers(response.headers.items()),
            response_body=body,
            body_cut=cut,
        )

    def _failed(self, claim: Claim, begin: float, outcome: Outcome, cause: str) -> Result:
        return Result(claim, outcome, clock.now(), round((time.monotonic() - begin) * 1000), cause=cause)


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    context.trace_request_ctx.connection = True


def _status_words(status: int) -> str:
    if 300 <= status <= 399:
        return "redirects are not followed"
    return f"the receiver answered {status}"


def _explain(error: Exception, *, reused: bool) -> tuple[Outcome, str]:
    """Turn an error of the connection into an outcome and a short cause in plain words."""
    inner = getattr(error, "os_error", None)
    if isinstance(inner, Blocked) or isinstance(error, Blocked):
        return Outcome.BLOCKED, BLOCKED
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Outcome.CONNECTION_ERROR, NAME_NOT_FOUND
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Outcome.CONNECTION_ERROR, f"TLS: {_certificate_words(error.certificate_error)}"
    if isinstance(error, (aiohttp.ClientConnectorSSLError, ssl.SSLError)):
        return Outcome.CONNECTION_ERROR, "TLS: no secure connection could be agreed on"
    if isinstance(error, aiohttp.ClientConnectorError):
        return Outcome.CONNECTION_ERROR, _errno_words(error.errno)
    if isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in (None, errno.ECONNRESET, errno.EPIPE)
    ):
        if reused:
            return Outcome.INTERRUPTED, _STALE
        closed = isinstance(error, aiohttp.ServerDisconnectedError) or error.errno is None
        return Outcome.CONNECTION_ERROR, "connection closed before an answer" if closed else "connection reset"
    if isinstance(error, (aiohttp.ClientResponseError, aiohttp.ClientPayloadError)):
        return Outcome.CONNECTION_ERROR, "the answer is not valid HTTP"
    if isinstance(error, OSError):
        return Outcome.CONNECTION_ERROR, _errno_words(error.errno)
    return Outcome.CONNECTION_ERROR, "the request could not be made"


def _errno_words(number: int | None) -> str:
    return _ERRNO_WORDS.get(number or 0) or (os.strerror(number).lower() if number else "no connection")


def _certificate_words(error: Exception) -> str:
    words = str(getattr(error, "verify_message", "") or "").rstrip(".")
    return f"the certificate was not accepted ({words})" if words else "the certificate was not accepted"


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"egress.ca_file {ca_file} cannot be used: {error}.") from None
    return context
