"""Rate limits where several daemons share a database: whoever gets a project counts what others have begun."""

from __future__ import annotations

import signal

import pytest

from almirant_webhooks.rules.buckets import BUCKETS

from ...conftest import Receiver
from ...support.daemons import Daemons, project_in

pytestmark = pytest.mark.slow

LIMIT = 2  # attempts an hour: no place comes free while a test runs
PROJECTS = 16  # enough that a daemon which joins gets some of them, and leaves some
_BEGUN = (
    "SELECT count(*) FROM attempts a JOIN deliveries d ON d.id = a.delivery_id JOIN webhooks w ON w.id = d.webhook_id"
)
_MOST = (
    "SELECT max(n) FROM (SELECT count(*) AS n FROM attempts a JOIN deliveries d ON d.id = a.delivery_id "
    "JOIN webhooks w ON w.id = d.webhook_id WHERE w.rate_limit IS NOT NULL GROUP BY w.id) v"
)


class Limited:
    """Projects with two webhooks each, one of them with a rate limit: what the other one is sent shows how far the daemons are."""

    def __init__(self, daemons: Daemons, receiver: Receiver, projects: list[str]) -> None:
        self._daemons = daemons
        self._projects = projects
        self._sent = 0
        for project in projects:
            daemons.webhook(receiver.url, project=project, rate_limit=f"{LIMIT}/h")
            daemons.webhook(receiver.url, project=project)

    async def send(self, count: int) -> None:
        """Send events to each project, one after the other, and wait until each has what may be sent of them."""
        for _ in range(count):
            for project in self._projects:
                self._daemons.send(project)
            self._sent += 1
            await self._until(self._sent, "NULL")
        await self._until(min(self._sent, LIMIT), "NOT NULL")

    async def _until(self, each: int, kind: str) -> None:
        query = f"{_BEGUN} WHERE a.outcome = 'success' AND w.rate_limit IS {kind}"
        await self._daemons.until(lambda: self._daemons.ask(query)[0] >= each * len(self._projects))

    def most(self) -> int:
        """The most attempts of a webhook with a limit; no more may begin for an hour."""
        return int(self._daemons.ask(_MOST)[0])


async def test_a_limit_holds_over_a_daemon_that_joins_and_leaves(
    first: Daemons, second: Daemons, receiver: Receiver
) -> None:
    """Each counts what the other one has begun, also what it has begun while the project was away."""
    limited = Limited(first, receiver, [project_in([bucket]) for bucket in range(0, BUCKETS, BUCKETS // PROJECTS)])
    await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    await limited.send(1)
    await second.start(migrating=False)
    await first.until_shared(BUCKETS // 2, BUCKETS // 2)
    await limited.send(3)
    assert limited.most() == LIMIT
    await second.stop()
    await first.until_shared(BUCKETS)
    await limited.send(2)
    await first.until_deliveries_rest()
    assert limited.most() == LIMIT


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_a_limit_holds_over_a_daemon_that_ends(
    first: Daemons, second: Daemons, receiver: Receiver, ending: signal.Signals
) -> None:
    """Stopped or killed: whoever takes its projects counts what it has begun, and so does who gets them next."""
    limited = Limited(first, receiver, ["p"])
    process = await first.another()
    await limited.send(5)
    await first.start(migrating=False)
    await first.until(lambda: len(first.shares()) == 2)
    process.send_signal(ending)
    await process.wait()
    await first.until_shared(BUCKETS)
    await limited.send(2)
    await first.until_deliveries_rest()
    assert limited.most() == LIMIT
    await second.start(migrating=False)
    await first.until_shared(BUCKETS // 2, BUCKETS // 2)
    await first.stop()
    await second.until_shared(BUCKETS)
    await limited.send(2)
    await second.until_deliveries_rest()
    assert limited.most() == LIMIT
