"""What `doctor` finds out about `egress.proxy`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ..model import Outcome
from ..rules.proxies import Proxy, parse_proxy
from ..sending.proxy_answers import NoTunnel, is_failure
from ..sending.resolver import Resolver
from ..sending.tunnels import Tunnels
from ..settings.schema import Settings
from .findings import Finding, ok

NOWHERE = "doctor.almirant-webhooks.invalid"  # no receiver is ever asked: names below .invalid lead nowhere (RFC 2606)
WITHIN = 5.0  # seconds


def check_proxy(settings: Settings) -> Iterator[Finding]:
    """Whether the proxy answers, lets us in, and tells a receiver that it cannot reach from a fault of its own."""
    proxy = parse_proxy(settings.egress.proxy)
    if proxy is None:
        return
    try:
        asyncio.run(_ask(proxy, Resolver(settings.policy())))
    except NoTunnel as problem:
        yield _finding(proxy, problem)
    except OSError as error:
        yield Finding("proxy", "wrong", f"{proxy.shown} could not be asked: {error}.")
    else:
        words = f"{proxy.shown} says that it is connected to a name that leads nowhere: look at its log."
        yield Finding("proxy", "warning", words)


async def _ask(proxy: Proxy, resolver: Resolver) -> None:
    try:
        (await Tunnels(proxy, resolver).open(NOWHERE, 443, WITHIN)).close()
    finally:
        await resolver.close()


def _finding(proxy: Proxy, problem: NoTunnel) -> Finding:
    if problem.outcome is not Outcome.INTERRUPTED:
        return ok("proxy", f"{proxy.shown} answers, and lets this service in.")
    if is_failure(problem.cause):
        words = (
            f"{proxy.shown}: {problem.cause}, asked for a name that leads nowhere. If it answers so for each receiver that it "
            "cannot reach, their deliveries are repeated without an end; see docs/proxy.md."
        )
        return Finding("proxy", "warning", words)
    words = (
        f"{proxy.shown}: {problem.cause}. Nothing is delivered until that is mended: egress.proxy, or the proxy itself."
    )
    return Finding("proxy", "wrong", words)
