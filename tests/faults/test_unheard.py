"""Events whose commit no daemon hears of, and whose ids come late: the poll finds them, whether one daemon is there or three."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ..conftest import Receiver
from ..support.daemons import INSERT, Daemons, ThreeDaemons, project_in
from ..support.postgres import new_tables
from . import postgres_bugs
from . import sharing_bugs as bugs

pytestmark = pytest.mark.slow

DEAF = "SET session_replication_role = replica"  # the session's inserts run no trigger, so nobody is notified


@pytest.fixture(params=["one daemon", "three daemons"])
async def daemons(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Daemons]:
    """One or three in this process, not started yet."""
    there = Daemons(tmp_path) if request.param == "one daemon" else ThreeDaemons(tmp_path, new_tables())
    yield there
    await there.close()


async def commit_late(daemons: Daemons, receiver: Receiver, within: float = 60) -> None:
    """Let transactions that began first commit last, and nobody hear of them: one for each daemon."""
    daemons.options["outbox"] = {"poll_interval": "50ms"}
    await daemons.start()
    await daemons.until(lambda: daemons.is_shared_by(len(daemons.running())))
    projects = [project_in(buckets) for buckets in daemons.shares().values()]
    for project in projects:
        daemons.webhook(receiver.url, project=project)
    arrived = [("succeeded", 1)] * len(projects)
    with daemons.there.connect() as late:
        late.execute(DEAF)
        for project in projects:
            late.execute(INSERT, [project, '{"n": "late"}'])
        for project in projects:
            daemons.send(project)
        await daemons.until(lambda: daemons.states() == arrived)
        await daemons.until_all_rest()
        late.commit()
    await daemons.until(lambda: daemons.states() == arrived * 2, within)


async def test_what_commits_late_and_unheard_is_found_by_the_poll(daemons: Daemons, receiver: Receiver) -> None:
    """Whatever its id is, and whichever daemon has its project."""
    await commit_late(daemons, receiver)


async def test_the_poll_is_enough_where_nobody_listens(
    daemons: Daemons, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is heard elsewhere is late then, and not lost."""
    postgres_bugs.never_listens(monkeypatch)
    await commit_late(daemons, receiver)


@pytest.mark.parametrize("bug", [bugs.reads_behind_the_largest_id, postgres_bugs.never_polls])
async def test_an_id_watermark_and_a_notify_without_the_poll_are_found_by_that(
    daemons: Daemons,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    bug: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """Both lose events."""
    bug(monkeypatch)
    with pytest.raises(TimeoutError):
        await commit_late(daemons, receiver, within=5)
    assert len(daemons.states()) >= len(daemons.running())  # what was heard of has arrived
