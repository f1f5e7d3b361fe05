"""Everything in PostgreSQL, with PgBouncer between the daemons and the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from almirant_webhooks.rules.buckets import BUCKETS

from ...conftest import Receiver
from ...support.daemons import Daemons, project_in
from ...support.pooler import pooled
from ...support.postgres_service import shell_of_all

pytestmark = pytest.mark.slow

CONNECTIONS = 24  # two daemons have nine each, and commands one
HALF = BUCKETS // 2


@pytest.mark.parametrize(
    ("mode", "words"),
    [("transaction", "as behind a pooler in transaction mode"), ("session", "commits are noticed at once")],
)
async def test_two_daemons_share_deliver_and_take_over_behind_a_pooler(
    daemons: Daemons, receiver: Receiver, tmp_path: Path, mode: str, words: str
) -> None:
    """In either mode: no lock, setting or statement of ours outlives its transaction. `doctor` says how commits are noticed."""
    daemons.there.ask(f"ALTER DATABASE {daemons.there.database} SET idle_session_timeout = '1h'")
    with pooled(daemons.there, mode, CONNECTIONS) as url:
        daemons.url = url
        daemons.options["outbox"] = {"poll_interval": "50ms"}
        await daemons.start(migrating=False)
        await daemons.until_shared(BUCKETS)
        other = await daemons.another()
        projects = [project_in(buckets) for buckets in await daemons.until_shared(HALF, HALF)]
        for project in projects:
            daemons.webhook(receiver.url, project=project, ordered=True)
            for _ in range(10):
                daemons.send(project)
        await daemons.until(lambda: daemons.states() == [("succeeded", 1)] * 20)
        assert words in await asyncio.to_thread(shell_of_all(daemons, tmp_path).ours, "doctor")
        other.kill()
        await other.wait()
        await daemons.until_shared(BUCKETS)
        for project in projects:
            daemons.send(project)
        await daemons.until(lambda: daemons.states() == [("succeeded", 1)] * 22)
        await daemons.stop()
        with ExitStack() as strangers:
            others = [strangers.enter_context(psycopg.connect(url)) for _ in range(3)]
            assert [conn.execute("SHOW idle_session_timeout").fetchone() for conn in others] == [("1h",)] * 3
    sent = Counter(request.headers["X-Almirant-Delivery"] for request in receiver.requests)
    assert sorted(sent.values()) == [1] * 22
