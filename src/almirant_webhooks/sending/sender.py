"""One claim, one POST, one Result: the only place that makes outgoing requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from .. import clock
from ..egress import BLOCKED, Policy, is_local_url
from ..model import Claim, Outcome, Result
from ..threads import Threads
from .answers import Answer, field, keep_headers, retry_after
from .causes import NO_DNS_ANSWER, STALE, Failure, explain, forget_frames
from .pool import MOST_IDLE, Pool, target_of, write
from .resolver import Resolver
from .tls import Tls

MOST_FRESH = 10_000
_REDIRECTS = frozenset((301, 302, 303, 307, 308))  # RFC 9110, section 15.4: what a client may follow by itself
MOST_SEEN = 1024  # bytes that are kept of what cannot be read as an answer
Go = Callable[[], Awaitable[object]]


async def at_once() -> None:
    """Have nothing to wait for."""


class Sender:
    """Makes requests within the policy and the time limit (seconds); bodies of answers are kept up to a size (bytes).

    `stalled(begin, end)` tells whether our own loop stood still between two monotonic times. Of connections that are kept
    for requests to come there are `most_idle` at most; names are looked up by `threads`.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        timeout: float,
        max_response_body: int,
        ca_file: str = "",
        stalled: Callable[[float, float], bool] = lambda begin, end: False,
        most_idle: int = MOST_IDLE,
        threads: Threads | None = None,
    ) -> None:
        self._policy = policy
        self._timeout = timeout
        self._max_response_body = max_response_body
        self._stalled = stalled
        self._most_idle = most_idle
        self._threads = threads
        self._tls = Tls(ca_file)
        self._use_fresh: dict[str, None] = {}

    async def start(self) -> None:
        """Open the pool of connections."""
        self._resolver = Resolver(self._policy, threads=self._threads)
        self.connections = Pool(
            self._policy, self._tls, self._resolver, most_body=self._max_response_body, most_idle=self._most_idle
        )

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
            return self._failed(claim, begin, Failure(Outcome.BLOCKED, BLOCKED))
        connection = None
        try:
            target = target_of(claim.url)
            request = write(target, claim.headers, claim.body)
            fresh = claim.delivery_id in self._use_fresh
            connection = None if fresh else self.connections.take(target)
            await go()
            self._use_fresh.pop(claim.delivery_id, None)
            begin = time.monotonic()
            if connection is None or not connection.is_open:
                connection = None if fresh else self.connections.take(target)
            if connection is None:
                async with asyncio.timeout(self._timeout):
                    connection = await self.connections.open(target, once=fresh)
            end = await connection.exchange(request, begin + self._timeout - time.monotonic())
        except (OSError, ValueError) as error:
            end = explain(error)
            forget_frames(error)
        finally:
            if connection is not None:
                self.connections.give_back(connection)
        if isinstance(end, Answer):
            return self._answered(claim, begin, end)
        if end.cause == STALE:
            self._ask_for_fresh(claim.delivery_id)
        return self._failed(claim, begin, end)

    def _answered(self, claim: Claim, begin: float, answer: Answer) -> Result:
        now = clock.now()
        status = answer.status
        success = 200 <= status <= 299
        return Result(
            claim,
            Outcome.SUCCESS if success else Outcome.HTTP_ERROR,
            now,
            round((answer.head_at - begin) * 1000),
            status_code=status,
            cause=None if success else _status_words(status),
            retry_after=retry_after(field(answer.fields, b"retry-after"), now) if status in (429, 503) else None,
            response_headers=keep_headers(answer.fields),
            response_body=answer.body,
            body_cut=not answer.whole,
        )

    def _failed(self, claim: Claim, begin: float, failure: Failure) -> Result:
        outcome, cause, seen = failure
        now = time.monotonic()
        if outcome is Outcome.TIMEOUT:
            if self._stalled(begin, now):
                outcome, cause = Outcome.INTERRUPTED, "the daemon itself stood still"
            else:
                unresolved = self._resolver.is_waiting_for(urlsplit(claim.url).hostname or "")
                cause = f"{NO_DNS_ANSWER if unresolved else cause} within {self._timeout:g} s"
        kept = seen[: min(MOST_SEEN, self._max_response_body)]
        return Result(
            claim,
            outcome,
            clock.now(),
            round((now - begin) * 1000),
            cause=cause,
            response_body=kept,
            body_cut=len(kept) < len(seen),
        )

    def _ask_for_fresh(self, delivery_id: str) -> None:
        """Have the next attempt of a delivery open a connection; the oldest wish is forgotten when there are too many."""
        self._use_fresh[delivery_id] = None
        if len(self._use_fresh) > MOST_FRESH:
            del self._use_fresh[next(iter(self._use_fresh))]


def _status_words(status: int) -> str:
    if status in _REDIRECTS:
        return "redirects are not followed"
    return f"the receiver answered {status}"
