"""Detects an outage of our own network, so that its failures cost no delivery a try.

Everything here runs in the delivery thread; the event loop reads `reason`. Times are monotonic seconds, passed in. The state is
in memory only: a start takes it that the network is there.
"""

from __future__ import annotations

from ..model import Outcome, Result
from ..rules.signing import host
from ..sending.causes import NAME_NOT_FOUND, NO_DNS_ANSWER, NO_NAME_SERVER, NO_ROUTE
from ..sending.own_faults import SHORTAGES
from ..sending.proxy_answers import is_by_proxy, is_down
from .shortage import Shortage

HOSTS = 3  # hosts out of reach, with no answer from any host in between, that suggest an outage
HOLD = 1.0  # seconds that a result is held back until its cause is clear
MEMORY = 60.0  # seconds after which a lost attempt no longer counts as a sign
_LOST = frozenset({NO_NAME_SERVER, NO_ROUTE})
_NEUTRAL = frozenset({Outcome.TIMEOUT, Outcome.BLOCKED, Outcome.INTERRUPTED})
_WORDS = "our own network is down: no host can be reached"
_PROXY_WORDS = "no host can be reached through egress.proxy"


class Outage:
    """Judges from results whether our network is down.

    A name server without an answer and a missing route are signs of an outage. Any answer of a receiver ends it, a refused
    connection too. A timeout and an unknown host name count for neither. Where a proxy opens no tunnel, that is a sign as
    well; one sign is enough where no receiver can have brought it about.
    """

    def __init__(self) -> None:
        self._lost: dict[str, float] = {}  # host → time of the last lost attempt
        self._lost_webhooks: set[str] = set()
        self._held: list[tuple[float, Result]] = []
        self._since: float | None = None
        self._words = _WORDS
        self._proxy_is_down = False
        self._next_probe = 0.0
        self._shortage = Shortage()
        self._in_flight = 0

    @property
    def reason(self) -> str | None:
        """Why our own network or machine keeps requests from being made, or None."""
        return self._words if self._since is not None else self._shortage.reason

    @property
    def new_must_wait(self) -> bool:
        """Whether new deliveries queue behind due ones, because a shortage allows fewer requests than there are slots."""
        return self._shortage.reason is not None

    @property
    def webhooks_to_skip(self) -> frozenset[str]:
        """The webhooks to skip while an outage is likely: their last attempts were lost.

        All others are tried once, so that host names that imitate an outage do not stop good receivers.
        """
        is_likely = self._since is not None or (self._is_suspected and self._held)
        return frozenset(self._lost_webhooks) if is_likely else frozenset()

    def observe(self, result: Result, at: float) -> list[Result]:
        """Judge the result of an attempt; return the results that can be recorded now."""
        if result.outcome is Outcome.SUCCESS:
            return self._end_outage(result, at)
        if result.outcome is Outcome.INTERRUPTED and result.cause in SHORTAGES:
            self._shortage.observe(result.cause, self._in_flight, at)
            return [result._replace(free=True)]
        lost = _is_lost(result)
        if lost or result.outcome is Outcome.TIMEOUT:
            self._lost_webhooks.add(result.claim.webhook_id)
        if self._since is not None and (lost or result.outcome is Outcome.TIMEOUT):
            return [_interrupted(result)]
        if lost:
            self._lost[host(result.claim.url)] = at
            self._held.append((at, result))
            self._proxy_is_down = self._proxy_is_down or is_down(result.cause)
            return []
        return self._end_outage(result, at) if _is_answer(result) else [result]

    def _end_outage(self, answered: Result, at: float) -> list[Result]:
        self._shortage.observe_answer(at)
        self._since = None
        self._proxy_is_down = False
        self._lost.clear()
        self._lost_webhooks.clear()
        return [*self.flush(), answered] if self._held else [answered]

    def evaluate(self, in_flight: int, at: float) -> list[Result]:
        """Return the results that were held back for `HOLD` seconds: as interrupted in an outage, else unchanged.

        It is an outage if enough hosts were lost, and no attempt in flight got an answer within `HOLD`.
        """
        self._in_flight = in_flight
        self._lost = {name: when for name, when in self._lost.items() if at - when < MEMORY}
        if not self._held:
            return []
        if self._is_suspected and (not in_flight or at - self._held[0][0] >= HOLD):
            self._since = self._next_probe = at
            last = self._held[-1][1].cause
            self._words = f"{_PROXY_WORDS}: {last}" if is_by_proxy(last) else _WORDS
            return [_interrupted(result) for result in self.flush()]
        expired = [result for since, result in self._held if at - since >= HOLD]
        self._held = self._held[len(expired) :]
        return expired

    def flush(self) -> list[Result]:
        """Return all results that are held back, unchanged."""
        held, self._held = self._held, []
        return [result for _, result in held]

    def allowed_starts(self, limit: int, in_flight: int, at: float) -> int:
        """Return how many attempts may begin; in an outage it is one at a time, to probe whether it is over."""
        limit = min(limit, self._shortage.allowed_starts(limit, in_flight, at))
        if self._since is None:
            return 0 if self._is_suspected and self._held else limit
        return min(limit, 1) if not in_flight and at >= self._next_probe else 0

    def note_start(self, at: float) -> None:
        """Note that attempts begin. In an outage the next one begins 1 s later, up to 10 s in a long one."""
        if self._since is not None:
            self._next_probe = at + min(max(1.0, (at - self._since) / 30), 10.0)

    def next_check(self, at: float) -> float | None:
        """Return the seconds until `evaluate` or `allowed_starts` may give another answer, or None."""
        if self._since is not None:
            return max(0.1, self._next_probe - at)
        held = max(0.01, self._held[0][0] + HOLD - at) if self._held else None
        return held if held is not None else self._shortage.next_check(at)

    @property
    def _is_suspected(self) -> bool:
        return len(self._lost) >= HOSTS or self._proxy_is_down


def _is_lost(result: Result) -> bool:
    return (
        result.cause in _LOST
        or is_by_proxy(result.cause)
        or (result.outcome is Outcome.TIMEOUT and (result.cause or "").startswith(NO_DNS_ANSWER))
    )


def _is_answer(result: Result) -> bool:
    return result.outcome not in _NEUTRAL and result.cause != NAME_NOT_FOUND


def _interrupted(result: Result) -> Result:
    cause = f"our own network was down ({result.cause})"
    return result._replace(outcome=Outcome.INTERRUPTED, cause=cause, free=True, retry_after=None)
