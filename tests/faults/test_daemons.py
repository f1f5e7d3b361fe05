"""Several daemons on one database in PostgreSQL, killed over and over, with clocks that differ, and with bugs put in."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web

from almirant_webhooks.rules.buckets import BUCKETS

from ..conftest import Receiver
from ..storage.postgres import test_limits_of_daemons, test_sharing
from ..support import needs
from ..support.daemons import PROGRAM, Daemons, DaemonsApart
from . import sharing_bugs as bugs
from .test_clock import ClockOfProcess

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("FAULTS_KILLS", "12"))
DAEMONS = 3
PROJECTS = 12
AT_ONCE = 4
RATE = 20  # attempts a second
INSERT = "INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload) VALUES (%s, 'work_item.created', %s) RETURNING event_id"


PENDING = "SELECT count(*) FROM deliveries WHERE state = 'pending'"
UNREAD = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"


class Watching:
    """Answers after a while, and remembers how many requests of living daemons each path had at once, and in which order."""

    def __init__(self, receiver: Receiver, dice: random.Random) -> None:
        self.most: Counter[str] = Counter()
        self.events: dict[str, list[str]] = defaultdict(list)  # by path, those that came for the first time
        self.deliveries: Counter[str] = Counter()
        self._dice = dice
        self._under_way: dict[str, list[web.Request]] = defaultdict(list)
        receiver.answer = self._answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        delivery, path = request.headers["X-Almirant-Delivery"], request.path
        if delivery not in self.deliveries:
            self.events[path].append((await request.json())["id"])
        self.deliveries[delivery] += 1
        # A killed daemon's connections are closed.
        here = [
            other for other in self._under_way[path] if other.transport is not None and not other.transport.is_closing()
        ]
        self._under_way[path] = here = [*here, request]
        self.most[path] = max(self.most[path], len(here))
        await asyncio.sleep(self._dice.uniform(0.01, 0.3))
        self._under_way[path].remove(request)
        return web.Response()


async def until_nothing_waits(daemons: Daemons, within: float) -> None:
    """Wait until all is delivered, as long as less is left every `within` seconds: ordered webhooks fall behind while daemons die."""

    def left() -> int:
        ((unread,),), ((pending,),) = daemons.there.ask(UNREAD), daemons.ours.ask(PENDING)
        return int(pending + unread)

    fewest = left()
    while fewest:
        before = fewest
        async with asyncio.timeout(within):
            while (fewest := left()) >= before:
                await asyncio.sleep(0.05)


async def kill_over_and_over(
    daemons: Daemons, receiver: Receiver, kills: int, *program: str, within: float = 60
) -> None:
    """Kill one of three daemons at a time while a producer commits, and hold what is promised.

    FAULTS_SEED repeats a run's moments. Each committed event arrives at each webhook of its project; what arrives twice is
    explained by an attempt that is shown as interrupted; no webhook has more requests at a time, or more attempts in a
    second, than it may, and an ordered one sees its events in their order.
    """
    seed = os.environ.get("FAULTS_SEED") or str(random.randrange(10**9))
    print(f"FAULTS_SEED={seed}")
    dice = random.Random(seed)
    watching = Watching(receiver, random.Random(seed))
    daemons.options["delivery"] = {
        "timeout": "2s", "concurrency_per_webhook": AT_ONCE, "retry_schedule": ["0s"] + ["1s"] * 29,
    }  # fmt: skip
    limited = ""
    for number in range(PROJECTS):
        project = f"proj_{number}"
        daemons.webhook(f"{receiver.url}/any/{number}", project=project)
        daemons.webhook(f"{receiver.url}/ordered/{number}", project=project, ordered=True)
        limited = daemons.webhook(f"{receiver.url}/rate/{number}", project=project, rate_limit=f"{RATE}/s").id
    committed: dict[str, list[str]] = defaultdict(list)
    is_over = asyncio.Event()

    async def produce() -> None:
        with daemons.there.connect(autocommit=True) as conn:
            while not is_over.is_set():
                project = f"proj_{dice.randrange(PROJECTS)}"
                (event,) = conn.execute(INSERT, [project, "{}"]).fetchone() or ("",)
                committed[project].append(event)
                await asyncio.sleep(0.03)

    producing = asyncio.create_task(produce())
    command = program or (str(PROGRAM),)
    processes = [await daemons.another(command=command) for _ in range(DAEMONS)]
    await daemons.until(lambda: daemons.is_shared_by(DAEMONS))
    for _ in range(kills):
        await asyncio.sleep(dice.uniform(0.5, 7.0))
        victim = dice.randrange(DAEMONS)
        processes[victim].kill()
        await processes[victim].wait()
        processes[victim] = await daemons.another(command=command)
    is_over.set()
    await producing
    await until_nothing_waits(daemons, within)
    assert daemons.ours.ask("SELECT count(*) FROM deliveries WHERE state <> 'succeeded'") == [(0,)]
    for number in range(PROJECTS):
        ids = committed[f"proj_{number}"]
        for kind in ("any", "ordered", "rate"):
            assert Counter(watching.events[f"/in/{kind}/{number}"]) == Counter(ids)
        assert watching.events[f"/in/ordered/{number}"] == ids
        assert watching.most[f"/in/ordered/{number}"] == 1
    assert max(watching.most.values()) <= AT_ONCE
    interrupted = dict(
        daemons.ours.ask("SELECT delivery_id, count(*) FROM attempts WHERE outcome = 'interrupted' GROUP BY 1")
    )
    for delivery, times in watching.deliveries.items():
        assert times <= 1 + interrupted.get(delivery, 0), delivery
    begun = daemons.ours.ask(
        "SELECT max(n) FROM (SELECT count(*) OVER (PARTITION BY limited_webhook ORDER BY started_at "
        "RANGE BETWEEN CURRENT ROW AND interval '999 ms' FOLLOWING) AS n FROM attempts WHERE limited_webhook IS NOT NULL) v"
    )
    assert limited
    assert begun[0][0] <= RATE
    print(f"{sum(map(len, committed.values()))} events, {sum(interrupted.values())} attempts interrupted")


@pytest.mark.alone
@pytest.mark.timeout(240 + 12 * KILLS)
async def test_daemons_killed_over_and_over_lose_nothing(daemons: Daemons, receiver: Receiver) -> None:
    """FAULTS_KILLS sets how often (12)."""
    await kill_over_and_over(daemons, receiver, KILLS)
    await daemons.until(lambda: daemons.is_shared_by(DAEMONS))


@pytest.mark.timeout(300)
async def test_daemons_whose_outbox_is_an_application_s_lose_nothing_either(tmp_path: Path, receiver: Receiver) -> None:
    """What the dead had copied and not marked is read again by those who take over, and known by its id."""
    daemons = DaemonsApart(tmp_path)
    daemons.migrate()
    try:
        await kill_over_and_over(daemons, receiver, 6)
    finally:
        await daemons.close()


async def test_daemons_that_leave_open_what_the_dead_had_are_found_by_that(
    daemons: Daemons, receiver: Receiver
) -> None:
    """No delivery of a killed daemon would ever be made again."""
    with pytest.raises(TimeoutError):
        await kill_over_and_over(
            daemons, receiver, 2, *bugs.program_with(bugs.leaves_open_what_the_dead_had), within=30
        )
    assert receiver.requests
    assert daemons.ask("SELECT count(*) > 0 FROM deliveries WHERE in_flight = 1") == (True,)


async def kill_one(daemons: Daemons, receiver: Receiver, environment: dict[str, str] | None = None) -> None:
    """Kill a daemon that owns everything, and leave it something to deliver."""
    killed = await daemons.another(environment=environment)
    await daemons.until_shared(BUCKETS)
    daemons.webhook(receiver.url, project="p")
    killed.kill()
    await killed.wait()
    daemons.send("p")


async def take_over_by_one_whose_clock_is_behind(
    daemons: Daemons, receiver: Receiver, its_clock: ClockOfProcess, *program: str, within: float = 60
) -> None:
    """Let a daemon whose clock is an hour behind deliver what a killed one has left."""
    await kill_one(daemons, receiver)
    its_clock.set(-1)
    await daemons.another(command=program or (str(PROGRAM),), environment=its_clock.environment)
    await daemons.until(lambda: daemons.states() == [("succeeded", 1)], within)


@pytest.fixture
def its_clock(tmp_path: Path) -> ClockOfProcess:
    made = needs.shared_library(Path(__file__).with_name("clock.c"), tmp_path)
    return ClockOfProcess(made, tmp_path / "ahead")


async def test_a_daemon_whose_clock_is_ahead_is_taken_over(
    daemons: Daemons, receiver: Receiver, its_clock: ClockOfProcess
) -> None:
    """No clock counts."""
    its_clock.set(1)
    await kill_one(daemons, receiver, its_clock.environment)
    await daemons.start(migrating=False)
    await daemons.until(lambda: daemons.states() == [("succeeded", 1)])


async def test_a_daemon_whose_clock_is_behind_takes_over(
    daemons: Daemons, receiver: Receiver, its_clock: ClockOfProcess
) -> None:
    """No clock counts."""
    await take_over_by_one_whose_clock_is_behind(daemons, receiver, its_clock)


async def test_a_lease_by_the_daemon_s_own_clock_is_found_by_that(
    daemons: Daemons, receiver: Receiver, its_clock: ClockOfProcess
) -> None:
    """For an hour nobody would deliver."""
    with pytest.raises(TimeoutError):
        await take_over_by_one_whose_clock_is_behind(
            daemons, receiver, its_clock, *bugs.program_with(bugs.has_a_lease_by_its_own_clock), within=20
        )
    assert daemons.ask("SELECT count(*) FROM daemons") == (2,)  # it runs, and waits


async def test_daemons_whose_clocks_differ_share(
    daemons: Daemons, receiver: Receiver, its_clock: ClockOfProcess
) -> None:
    """And go on to: none takes another for gone."""
    its_clock.set(-1)
    await daemons.start(migrating=False)
    await daemons.another(environment=its_clock.environment)
    shares = await daemons.until_shared(BUCKETS // 2, BUCKETS // 2)
    since = "SELECT count(*) FROM daemons WHERE seen_at > joined_at + interval '8 s'"
    await daemons.until(lambda: daemons.ask(since) == (2,))
    assert list(daemons.shares().values()) == shares


def test_daemons_without_a_fence_are_found_by_that(daemons: Daemons, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was taken for gone would go on to write."""
    bugs.has_no_fence(monkeypatch)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_sharing.test_each_transaction_looks_whether_its_daemon_owns_what_it_takes_for_its_own(daemons)


async def test_a_daemon_that_gives_what_is_in_flight_is_found_by_that(
    daemons: Daemons, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook would have requests of two daemons at a time."""
    bugs.gives_what_is_in_flight(monkeypatch)
    second = Daemons(tmp_path, daemons)
    with pytest.raises(AssertionError):
        await test_sharing.test_a_daemon_that_joins_gets_a_project_once_nothing_is_in_flight_there(
            daemons, second, receiver
        )
    await second.close()


@pytest.mark.parametrize("bug", [bugs.takes_without_the_log, bugs.counts_on_where_it_was])
async def test_a_rate_limit_that_is_each_daemon_s_own_is_found_by_that(
    daemons: Daemons,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bug: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """A webhook would get more than it may as its project goes from one to the other."""
    bug(monkeypatch)
    second = Daemons(tmp_path, daemons)
    with pytest.raises(AssertionError):
        await test_limits_of_daemons.test_a_limit_holds_over_a_daemon_that_joins_and_leaves(daemons, second, receiver)
    await second.close()
