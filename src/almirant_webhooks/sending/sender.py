"""Makes one POST request for one claim, and returns one result. All outgoing requests are made here."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .. import clock
from ..model import Claim, Outcome, Result
from ..ops.threads import Threads
from ..rules.proxies import Proxy
from ..rules.signing import signed
from ..rules.urls import Blocked, Policy, is_local_url
from .answers import Answer, field, retry_after
from .causes import NO_DNS_ANSWER, STALE, Failure, classify_error, forget_frames
from .echoes import hide, without_echoes
from .exchange import Connection, End
from .own_faults import AFTER_FAULT, MayNotSend, interrupted_by_us
from .pool import MOST_IDLE, Destination, Pool, destination_of, write
from .proxy_answers import is_own_fault
from .resolver import Resolver
from .tls import Tls

MOST_FRESH = 10_000
MOST_WAITS = 60  # a fault of the proxy's for this receiver alone: a minute longer each time, up to an hour
_REDIRECTS = frozenset((301, 302, 303, 307, 308))  # RFC 9110, section 15.4: what a client may follow by itself
MOST_SEEN = 1024  # bytes that are kept of what cannot be read as an answer


class Prepared(NamedTuple):
    """A request as bytes, ready to send."""

    claim: Claim
    destination: Destination
    request: bytes


class Sender:
    """Makes requests within the policy and `timeout` (seconds), on the event loop.

    `max_response_body` (bytes) is how much of a body is kept. `stalled(begin, end)` tells whether our own loop was blocked
    between two monotonic times. At most `most_idle` connections are kept; `threads` look names up. With a `proxy` requests by
    `https` go through it. `may_send` is asked right before each request is written.
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
        proxy: Proxy | None = None,
        may_send: Callable[[], bool] | None = None,
    ) -> None:
        self._policy = policy
        self._timeout = timeout
        self._max_response_body = max_response_body
        self._stalled = stalled
        self._most_idle = most_idle
        self._threads = threads
        self._proxy = proxy
        self._may_send = may_send
        self._tls = Tls(ca_file)
        self._use_fresh: dict[str, None] = {}

    async def start(self) -> None:
        """Open the pool of connections."""
        self._resolver = Resolver(self._policy, threads=self._threads)
        self.connections = Pool(
            self._policy,
            self._tls,
            self._resolver,
            most_body=self._max_response_body,
            most_idle=self._most_idle,
            proxy=self._proxy,
        )

    async def close(self) -> None:
        """Close every idle connection; one with a request ends with it."""
        await self.connections.close()
        await self._resolver.close()

    def prepare(self, claim: Claim) -> Prepared | Result:
        """Sign the request and return it as bytes, or the result if no request can be made. Nothing is sent yet."""
        claim = signed(claim)
        try:
            if is_local_url(claim.url) and not self._policy.allow_localhost:
                raise Blocked
            destination = destination_of(claim.url)
            return Prepared(claim, destination, write(destination, claim))
        except (Blocked, ValueError) as error:
            return self._failed(claim, time.monotonic(), classify_error(error))

    def begin(self, prepared: Prepared, ended: Callable[[Result], None]) -> asyncio.Future[Any]:
        """Send a request; `ended` is called with its result within the time limit.

        A task is made only if a connection has to be opened. Cancelling the future drops the request: `ended` is not called.
        Raises `MayNotSend`.
        """
        self._check()
        begin = time.monotonic()
        fresh = bool(self._use_fresh) and prepared.claim.delivery_id in self._use_fresh
        connection = None if fresh else self.connections.take(prepared.destination)
        if connection is None:
            return asyncio.create_task(self._open_first(prepared, begin, ended, fresh=fresh))
        end = connection.exchange(prepared.request, self._timeout)
        end.add_done_callback(functools.partial(self._end, prepared.claim, begin, connection, ended))
        return end

    async def _open_first(
        self, prepared: Prepared, begin: float, ended: Callable[[Result], None], *, fresh: bool
    ) -> None:
        claim = prepared.claim
        if fresh:
            self._use_fresh.pop(claim.delivery_id, None)
        connection = None
        try:
            until = begin + self._timeout
            connection = await self.connections.open(prepared.destination, once=fresh, until=until)
            self._check()
            end = await connection.exchange(prepared.request, until - time.monotonic())
        except (OSError, ValueError) as error:
            end = classify_error(error)
            forget_frames(error)
        except Exception as error:
            ended(interrupted_by_us(claim, error, clock.now()))
            return
        finally:
            if connection is not None:
                self.connections.give_back(connection)
        ended(self._result(claim, begin, end))

    def _check(self) -> None:
        """Raise `MayNotSend` right before a request is written, unless it may be."""
        if self._may_send is not None and not self._may_send():
            raise MayNotSend

    def _end(
        self,
        claim: Claim,
        begin: float,
        connection: Connection,
        ended: Callable[[Result], None],
        future: asyncio.Future[End],
    ) -> None:
        if future.cancelled():
            connection.close()
            return
        self.connections.give_back(connection)
        ended(self._result(claim, begin, future.result()))

    def _result(self, claim: Claim, begin: float, end: End) -> Result:
        try:
            if isinstance(end, Answer):
                return self._answered(claim, begin, end)
            if end.cause == STALE:
                self._ask_for_fresh(claim.delivery_id)
            return self._failed(claim, begin, end)
        except Exception as error:  # a fault of ours must not strand the delivery
            return interrupted_by_us(claim, error, clock.now())

    async def send(self, claim: Claim) -> Result:
        """Make one attempt and return its result within the time limit. Never raises because of the receiver."""
        prepared = self.prepare(claim)
        if isinstance(prepared, Result):
            return prepared
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        under_way = self.begin(prepared, result.set_result)
        try:
            return await result
        finally:
            under_way.cancel()

    def _answered(self, claim: Claim, begin: float, answer: Answer) -> Result:
        now = clock.now()
        status = answer.status
        success = 200 <= status <= 299
        return Result(
            claim,
            Outcome.SUCCESS if success else Outcome.HTTP_ERROR,
            now,
            round((answer.head_at - begin) * 1000),
            status,
            None if success else _status_words(status),
            retry_after(field(answer.fields, b"retry-after"), now) if status in (429, 503) else None,
            *without_echoes(answer, claim, self._max_response_body),
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
        body = hide(seen, claim, cut=False)[: min(MOST_SEEN, self._max_response_body)]
        by_proxy = is_own_fault(cause)
        return Result(
            claim,
            outcome,
            clock.now(),
            round((now - begin) * 1000),
            cause=cause,
            retry_after=AFTER_FAULT * min(claim.number, MOST_WAITS) if by_proxy else None,
            response_body=body,
            body_cut=len(body) < len(seen),
            free=by_proxy,
        )

    def _ask_for_fresh(self, delivery_id: str) -> None:
        """Let the next attempt of a delivery open a new connection; only the last 10,000 deliveries are remembered."""
        self._use_fresh[delivery_id] = None
        if len(self._use_fresh) > MOST_FRESH:
            del self._use_fresh[next(iter(self._use_fresh))]


def _status_words(status: int) -> str:
    if status in _REDIRECTS:
        return "redirects are not followed"
    return f"the receiver answered {status}"
