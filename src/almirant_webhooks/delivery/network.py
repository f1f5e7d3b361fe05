"""An outage of our own network, told apart from receivers that cannot be reached: it costs no delivery a try.

Times are monotonic seconds, passed in.
"""

from __future__ import annotations

from ..model import Outcome, Result
from ..rules.signing import host
from ..sending.causes import NAME_NOT_FOUND, NO_DNS_ANSWER, NO_NAME_SERVER, NO_ROUTE
from ..sending.own_faults import SHORTAGES
from .shortage import Shortage

HOSTS = 3  # so many must be out of reach, with no answer from any in between
HOLD = 1.0  # seconds that an attempt is held back until it is clear whose fault it was
MEMORY = 60.0  # seconds after which an attempt that was lost says nothing any more
_LOST = frozenset({NO_NAME_SERVER, NO_ROUTE})
_NEUTRAL = frozenset({Outcome.TIMEOUT, Outcome.BLOCKED, Outcome.INTERRUPTED})
_WORDS = "our own network is down: no host can be reached"


class Outage:
    """Whether our network is down, as the ends of attempts tell.

    A name server that gives no answer, and a missing route, are signs of an outage. Any answer of a receiver, a refused
    connection too, ends it. A time-out and a name that does not exist are signs of neither.
    """

    def __init__(self) -> None:
        self._lost: dict[str, float] = {}  # host → when an attempt at it was lost last
        self._lost_webhooks: set[str] = set()
        self._held: list[tuple[float, Result]] = []
        self._since: float | None = None
        self._next_probe = 0.0
        self._shortage = Shortage()
        self._in_flight = 0

    @property
    def reason(self) -> str | None:
        """The words for an outage, or for what we are short of, while there is one."""
        return _WORDS if self._since is not None else self._shortage.reason

    @property
    def new_must_wait(self) -> bool:
        """Whether what is new waits for its turn among what is due, as fewer requests begin than there are slots."""
        return self._shortage.reason is not None

    @property
    def webhooks_to_skip(self) -> frozenset[str]:
        """The webhooks to leave out while it looks like an outage, as they were lost already.

        All others are tried once: names that were made to look like an outage must not keep good receivers waiting.
        """
        is_likely = self._since is not None or (self._is_suspected and self._held)
        return frozenset(self._lost_webhooks) if is_likely else frozenset()

    def observe(self, result: Result, at: float) -> list[Result]:
        """Take the end of an attempt; return what can be recorded now."""
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
            return []
        if _is_answer(result):
            self._shortage.observe_answer(at)
            self._since = None
            self._lost.clear()
            self._lost_webhooks.clear()
            return [*self.flush(), result]
        return [result]

    def evaluate(self, in_flight: int, at: float) -> list[Result]:
        """Return what was held back for long enough: interrupted if it was an outage, else as it ended.

        It is one when enough hosts were lost, and no attempt that is still in flight had an answer within `HOLD`.
        """
        self._in_flight = in_flight
        self._lost = {name: when for name, when in self._lost.items() if at - when < MEMORY}
        if not self._held:
            return []
        if self._is_suspected and (not in_flight or at - self._held[0][0] >= HOLD):
            self._since = self._next_probe = at
            return [_interrupted(result) for result in self.flush()]
        expired = [result for since, result in self._held if at - since >= HOLD]
        self._held = self._held[len(expired) :]
        return expired

    def flush(self) -> list[Result]:
        """Return all that is held back, as it ended."""
        held, self._held = self._held, []
        return [result for _, result in held]

    def allowed_starts(self, limit: int, in_flight: int, at: float) -> int:
        """Return how many attempts may begin: in an outage one at a time tells whether it is over."""
        limit = min(limit, self._shortage.allowed_starts(limit, in_flight, at))
        if self._since is None:
            return 0 if self._is_suspected and self._held else limit
        return min(limit, 1) if not in_flight and at >= self._next_probe else 0

    def note_start(self, at: float) -> None:
        """Take note that attempts begin: in an outage the next is a second later, up to ten when it lasts."""
        if self._since is not None:
            self._next_probe = at + min(max(1.0, (at - self._since) / 30), 10.0)

    def next_check(self, at: float) -> float | None:
        """Return the seconds until the outage has to be thought of again, or None."""
        if self._since is not None:
            return max(0.1, self._next_probe - at)
        held = max(0.01, self._held[0][0] + HOLD - at) if self._held else None
        return held if held is not None else self._shortage.next_check(at)

    @property
    def _is_suspected(self) -> bool:
        return len(self._lost) >= HOSTS


def _is_lost(result: Result) -> bool:
    return result.cause in _LOST or (
        result.outcome is Outcome.TIMEOUT and (result.cause or "").startswith(NO_DNS_ANSWER)
    )


def _is_answer(result: Result) -> bool:
    return result.outcome not in _NEUTRAL and result.cause != NAME_NOT_FOUND


def _interrupted(result: Result) -> Result:
    return result._replace(outcome=Outcome.INTERRUPTED, cause=f"our own network was down ({result.cause})", free=True)
