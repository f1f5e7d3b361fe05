"""Why a proxy opened no tunnel, and whose fault that is (contract, *How these meet*, row "proxy").

A cause goes into log lines, so it never holds what the proxy sent, nor its address or password.
"""

from __future__ import annotations

from ..model import Outcome

NO_CONNECTION = "no connection to the proxy"
NO_ANSWER = "no answer from the proxy"
NOT_HTTP = "the proxy's answer is not HTTP"
_NOT_LET_IN = "the proxy wants another user or password"
_FAILED = "the proxy itself failed"
_UNREACHED = "the proxy could not reach the receiver"
_REFUSED = "the proxy refused the receiver"
# Of these the proxy alone can be the cause. A receiver may bring about the others: some proxies answer 500 for one that
# is down, or wait for it longer than we do.
_DOWN = (NO_CONNECTION, _NOT_LET_IN)
_OURS = (*_DOWN, NO_ANSWER, NOT_HTTP, _FAILED)
_ALL = (*_OURS, _UNREACHED, _REFUSED)


class NoTunnel(OSError):
    """Raised where a proxy opens no tunnel: how the attempt ends, and why in words."""

    def __init__(self, outcome: Outcome, cause: str) -> None:
        super().__init__(cause)
        self.outcome = outcome
        self.cause = cause


def ours(cause: str) -> NoTunnel:
    """Return the end of an attempt that the proxy itself kept from the receiver."""
    return NoTunnel(Outcome.INTERRUPTED, cause)


def refusal(status: int) -> NoTunnel:
    """Return the end of an attempt whose CONNECT was answered with a status that opens no tunnel."""
    if status in (502, 503, 504):
        return NoTunnel(Outcome.CONNECTION_ERROR, f"{_UNREACHED} ({status})")
    if status in (407, 401):  # tinyproxy answers 401 to a wrong password, and no receiver can have answered CONNECT
        return ours(f"{_NOT_LET_IN} ({status})")
    if 400 <= status <= 499:
        return NoTunnel(Outcome.BLOCKED, f"{_REFUSED} ({status})")
    return ours(f"{_FAILED} ({status})")


def is_by_proxy(cause: str | None) -> bool:
    """Return whether an attempt ended without a tunnel."""
    return cause is not None and cause.startswith(_ALL)


def is_own_fault(cause: str | None) -> bool:
    """Return whether an attempt ended by a fault of the proxy itself, which costs no delivery a try."""
    return cause is not None and cause.startswith(_OURS)


def is_down(cause: str | None) -> bool:
    """Return whether no receiver can have brought this about: the proxy is gone, or does not know us."""
    return cause is not None and cause.startswith(_DOWN)


def is_failure(cause: str) -> bool:
    """Return whether the proxy answered that it has failed: some say so of each receiver that they cannot reach."""
    return cause.startswith(_FAILED)
