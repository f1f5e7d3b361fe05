"""One claim, one POST, one Result: the only place that makes outgoing requests."""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader
from yarl import URL

from . import answers, clock
from .causes import NO_DNS_ANSWER, explain
from .connections import Connections, exchange, is_closed, was_used, write
from .egress import BLOCKED, Policy, is_local_url
from .model import Claim, Misconfigured, Outcome, Result
from .resolver import Resolver

MOST_FRESH = 10_000
Go = Callable[[], Awaitable[object]]


async def at_once() -> None:
    """Have nothing to wait for."""


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
        self.connections = Connections(self._policy, self._tls, self._resolver)

    async def close(self) -> None:
        """Close every connection."""
        await self.connections.close()
        await self._resolver.close()

    async def send(self, claim: Claim, go: Go = at_once) -> Result:
        """Make one attempt; whatever the receiver does comes back as a Result within the time limit.

        The request is made once `go` has returned; what can be prepared without anybody's noticing is prepared before.
        """
        begin = time.monotonic()
        if is_local_url(claim.url) and not self._policy.allow_localhost:
            return self._failed(claim, begin, Outcome.BLOCKED, BLOCKED)
        connection, reused = None, False
        try:
            target = self.connections.target(claim.url)
            request = write(target, claim.headers, claim.body)
            fresh = claim.delivery_id in self._use_fresh
            connection = None if fresh else await self.connections.kept(target)
            await go()
            self._use_fresh.pop(claim.delivery_id, None)
            begin = time.monotonic()
            async with asyncio.timeout(self._timeout):
                if connection is not None and is_closed(connection):
                    connection.close()
                    connection = None
                connection = connection or await self.connections.connect(target, fresh=fresh)
                reused = was_used(connection)
                message, content = await exchange(connection, request)
            return await self._answered(claim, begin, message, content, connection)
        except TimeoutError:
            if self._stalled(begin, time.monotonic()):
                return self._failed(claim, begin, Outcome.INTERRUPTED, "the daemon itself stood still")
            return self._failed(claim, begin, Outcome.TIMEOUT, self._timeout_words(claim.url))
        except (aiohttp.ClientError, aiohttp.EofStream, HttpProcessingError, OSError, ValueError) as error:
            outcome, cause = explain(error, reused=reused)
            answers.forget_frames(error)
            if outcome is Outcome.INTERRUPTED:
                self._ask_for_fresh(claim.delivery_id)
            return self._failed(claim, begin, outcome, cause)
        finally:
            if connection is not None:
                connection.close()  # unless it was given back

    def _timeout_words(self, url: str) -> str:
        what = NO_DNS_ANSWER if self._resolver.is_waiting_for(URL(url, encoded=True).raw_host or "") else "no answer"
        return f"{what} within {self._timeout:g} s"

    def _ask_for_fresh(self, delivery_id: str) -> None:
        """Have the next attempt of a delivery open a connection; the oldest wish is forgotten when there are too many."""
        self._use_fresh[delivery_id] = None
        if len(self._use_fresh) > MOST_FRESH:
            del self._use_fresh[next(iter(self._use_fresh))]

    async def _answered(
        self, claim: Claim, begin: float, message: RawResponseMessage, content: StreamReader, connection: Connection
    ) -> Result:
        duration = time.monotonic() - begin
        finished_at = clock.now()
        status = message.code
        body, whole = await answers.read_body(content, self._max_response_body, begin + self._timeout)
        if whole:
            connection.release()
        success = 200 <= status <= 299
        later = None
        if status in (429, 503):
            later = answers.retry_after(message.headers.get("Retry-After"), finished_at)
        return Result(
            claim,
            Outcome.SUCCESS if success else Outcome.HTTP_ERROR,
            clock.now(),
            round(duration * 1000),
            status_code=status,
            cause=None if success else _status_words(status),
            retry_after=later,
            response_headers=answers.keep_headers(message.headers.items()),
            response_body=body,
            body_cut=not whole,
        )

    def _failed(self, claim: Claim, begin: float, outcome: Outcome, cause: str) -> Result:
        return Result(claim, outcome, clock.now(), round((time.monotonic() - begin) * 1000), cause=cause)


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
