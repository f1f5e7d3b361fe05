"""A resend and a replay of many where the daemon that does them is killed in the middle."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from almirant_webhooks.rules.buckets import BUCKETS
from almirant_webhooks.storage.postgres.once import BUCKET
from almirant_webhooks.storage.sql.resend_steps import WAITING

from ...conftest import Receiver
from ...support.daemons import Daemons, project_in
from ...support.postgres_service import shell_of_all

pytestmark = pytest.mark.slow

EVENTS = WAITING + 100  # of each project, so that the work ends only once some of it was sent
_FILL = """
INSERT INTO outbox (project_id, event_type, payload) SELECT %s, 'work_item.created', '{}' FROM generate_series(1, %s)
"""
_ASKED = "SELECT min(requested) FROM resend_webhooks"
_SUCCESSES = """
SELECT d.id, count(*) FILTER (WHERE a.outcome = 'success'), count(*) FILTER (WHERE a.outcome = 'interrupted'), count(*)
FROM deliveries d JOIN attempts a ON a.delivery_id = d.id WHERE d.webhook_id = ANY(%s) GROUP BY d.id
"""


class Held:
    """A receiver that answers at once, until it is shut; then only once it is open again."""

    def __init__(self, receiver: Receiver) -> None:
        self._open = asyncio.Event()
        self.open()
        receiver.answer = self._answer

    def open(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    async def _answer(self, _: web.Request) -> web.StreamResponse:
        await self._open.wait()
        return web.Response()


async def start_two(daemons: Daemons) -> tuple[dict[str, asyncio.subprocess.Process], list[str]]:
    """Start two daemons; return them by their ids, and a project of each."""
    daemons.options["delivery"] = {"timeout": "5m"}  # a request waits for as long as the receiver is shut
    first = await daemons.another()
    await daemons.until_shared(BUCKETS)
    second = await daemons.another()
    shares = await daemons.until_shared(BUCKETS // 2, BUCKETS // 2)
    return dict(zip(daemons.shares(), (first, second), strict=True)), [project_in(buckets) for buckets in shares]


async def kill_whoever_does_it(daemons: Daemons, processes: dict[str, asyncio.subprocess.Process]) -> None:
    """Kill the daemon that owns the first bucket."""
    (owner,) = daemons.ask(f"SELECT daemon_id FROM buckets WHERE number = {BUCKET}")
    processes[owner].kill()
    await processes[owner].wait()


async def until_all_succeeded(daemons: Daemons, count: int) -> None:
    await daemons.until(
        lambda: daemons.ask("SELECT count(*) FROM deliveries WHERE state = 'succeeded'") == (count,), 120
    )


async def interrupt(daemons: Daemons, processes: dict[str, asyncio.subprocess.Process], held: Held) -> None:
    """Kill whoever does the work once as much of it waits as may, and some is left; return once it is finished."""
    await daemons.until(lambda: (daemons.ask(_ASKED)[0] or 0) >= WAITING)
    assert daemons.ask(_ASKED)[0] < EVENTS
    await kill_whoever_does_it(daemons, processes)
    held.open()
    await daemons.until(lambda: daemons.ask("SELECT count(*) FROM resends WHERE finished_at IS NOT NULL") == (1,), 120)


def hold_that_each_was_sent(daemons: Daemons, receiver: Receiver, webhooks: list[str], times: int) -> None:
    """So often, and once more for each attempt that was interrupted."""
    rows = daemons.there.ask(_SUCCESSES, webhooks)
    assert len(rows) == EVENTS * len(webhooks)
    arrived = Counter(request.headers["X-Almirant-Delivery"] for request in receiver.requests)
    for delivery, succeeded, interrupted, attempts in rows:
        assert (succeeded, attempts - interrupted) == (times, times)
        assert times <= arrived[delivery] <= times + interrupted


async def test_a_resend_of_many_goes_on_when_its_daemon_is_killed(
    daemons: Daemons, receiver: Receiver, tmp_path: Path
) -> None:
    """Each delivery that was selected is sent once more, whichever daemon owns its project, and the resend is finished."""
    held = Held(receiver)
    processes, projects = await start_two(daemons)
    hooks = [daemons.webhook(receiver.url, project=project).id for project in projects]
    for project in projects:
        daemons.there.ask(_FILL, project, EVENTS)
    await until_all_succeeded(daemons, EVENTS * len(projects))
    held.shut()
    shell = shell_of_all(daemons, tmp_path)
    await asyncio.to_thread(shell.ours, "delivery", "resend", "--state", "succeeded", "--yes")
    await interrupt(daemons, processes, held)
    hold_that_each_was_sent(daemons, receiver, hooks, 2)


async def test_a_replay_goes_on_when_its_daemon_is_killed(daemons: Daemons, receiver: Receiver, tmp_path: Path) -> None:
    """Each event of before is sent to the webhook that is new, once."""
    held = Held(receiver)
    processes, projects = await start_two(daemons)
    daemons.webhook(receiver.url, project=projects[0])
    daemons.there.ask(_FILL, projects[0], EVENTS)
    await until_all_succeeded(daemons, EVENTS)
    new = daemons.webhook(receiver.url, project=projects[0]).id
    held.shut()
    shell = shell_of_all(daemons, tmp_path)
    await asyncio.to_thread(shell.ours, "webhook", "replay", new, "--since", "1h", "--yes")
    await interrupt(daemons, processes, held)
    await until_all_succeeded(daemons, 2 * EVENTS)  # a replay is finished once all of it has begun
    hold_that_each_was_sent(daemons, receiver, [new], 1)
