"""One claim, one POST, one Result: the only place that makes outgoing requests."""

from __future__ import annotations

import asyncio
import functools
import resource
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from . import answers, clock
from .causes import NO_DNS_ANSWER, explain
from .egress import BLOCKED, Blocked, Policy, is_allowed, is_local_url
from .model import Claim, Misconfigured, Outcome, Result
from .resolver import Resolver

MOST_FRESH = 10_000
KEEP_ALIVE = 4.0  # seconds; many servers close at 5


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
        self._use_fresh: dict[str, None] = {}

    async def start(self) -> None:
        """Open the pools of connections."""
        _take_all_files()
        self._resolver = Resolver(self._policy)
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
        # The one seam that aiohttp has for this is private; tests hold that the bounds are in force.
        factory: Any = functools.partial(answers.AnswerHandler, loop=asyncio.get_running_loop())
        connector._factory = factory
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            max_line_size=65_536,  # the whole head is bounded by `AnswerHandler`
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
        fresh = self._use_fresh.pop(claim.delivery_id, False) is None
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
            return self._failed(claim, begin, Outcome.TIMEOUT, self._timeout_words(claim.url))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            outcome, cause = explain(error, reused=reused.connection)
            answers.forget_frames(error)
            if outcome is Outcome.INTERRUPTED:
                self._ask_for_fresh(claim.delivery_id)
            return self._failed(claim, begin, outcome, cause)
        return await self._answered(claim, begin, response)

    def _timeout_words(self, url: str) -> str:
        what = NO_DNS_ANSWER if self._resolver.is_waiting_for(URL(url, encoded=True).raw_host or "") else "no answer"
        return f"{what} within {self._timeout:g} s"

    def _ask_for_fresh(self, delivery_id: str) -> None:
        """Have the next attempt of a delivery open a connection; the oldest wish is forgotten when there are too many."""
        self._use_fresh[delivery_id] = None
        if len(self._use_fresh) > MOST_FRESH:
            del self._use_fresh[next(iter(self._use_fresh))]

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


def _take_all_files() -> None:
    """Raise the limit of open files to what the system allows: each connection is one, kept ones too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _status_words(status: int) -> str:
    if 300 <= status <= 399:
        return "redirects are not followed"
    return f"the receiver answered {status}"


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"egress.ca_file {ca_file} cannot be used: {error}.") from None
    return context
