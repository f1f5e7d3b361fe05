"""Signs of life of daemons on one database, when they cannot be given or clocks are wrong (contract, section 6, *PostgreSQL*)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from almirant_webhooks import clock
from almirant_webhooks.rules.buckets import ALL, BUCKETS, bucket_of
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage.postgres import share as share_module
from almirant_webhooks.storage.postgres.connection import APPLICATION
from almirant_webhooks.storage.postgres.daemons import LEASE
from almirant_webhooks.storage.postgres.database_session import open_database
from almirant_webhooks.storage.postgres.lease import BEAT, Lease, Signs, Wishes
from almirant_webhooks.storage.postgres.share import Share

from ...conftest import Receiver
from ...support.daemons import Daemons

JOIN = "INSERT INTO daemons (id, name, request_seconds, seen_at) VALUES (%s, 'another', 1, clock_timestamp() + %s)"


@pytest.fixture
async def first(tmp_path: Path) -> AsyncIterator[Daemons]:
    """A database with no daemon yet."""
    there = Daemons(tmp_path)
    there.migrate()
    yield there
    await there.close()


@contextmanager
def signs_held_up(there: Daemons) -> Iterator[None]:
    """Let no daemon give a sign of life, for a lock that somebody has."""
    with there.there.connect() as conn:
        conn.execute("LOCK TABLE daemons IN SHARE MODE")
        yield


async def test_a_daemon_that_can_give_no_sign_of_life_begins_nothing_and_says_so(
    first: Daemons, receiver: Receiver
) -> None:
    """No attempt is recorded that was not made; what waits is sent once signs can be given again."""
    daemon = await first.start(migrating=False)
    await first.until_shared(BUCKETS)
    first.webhook(receiver.url, project="p")
    with signs_held_up(first):
        await first.until(lambda: "no sign of life" in (daemon.not_ready() or ""))
        first.send("p")
        await first.until(lambda: daemon.storage.may_send is None or not daemon.storage.may_send())
        for _ in range(3):
            await first.between_batches(lambda: None)
    await first.until(lambda: first.states() == [("succeeded", 1)])
    assert first.ask("SELECT count(*) FROM attempts") == (1,)
    await first.until(lambda: daemon.not_ready() is None)


def test_who_gives_no_sign_while_another_watches_for_a_lease_is_gone() -> None:
    """Whoever gives one in time stays."""
    signs = Signs()
    looks = [signs.look({"dead": "1", "alive": str(look)}, look * BEAT) for look in range(8)]
    first_gone = next(look for look, gone in enumerate(looks) if gone)
    assert first_gone * BEAT == LEASE
    assert looks[first_gone] == {"dead": "1"}


def test_a_time_in_which_nobody_could_look_makes_nobody_gone() -> None:
    """As while the server stands still: the others' signs have waited just as long. Looks that are always late do, later."""
    signs = Signs()
    assert not signs.look({"other": "1"}, 10.0)
    assert not signs.look({"other": "1"}, 70.0)
    assert not signs.look({"other": "1"}, 130.0)
    assert signs.look({"other": "1"}, 190.0) == {"other": "1"}


@pytest.mark.slow
async def test_the_servers_clock_makes_nobody_gone_and_keeps_nobody_alive(first: Daemons) -> None:
    """It was set forward since one daemon's signs, and back since another died. Of that one the sessions here are ended."""
    first.there.ask(JOIN, "dmn_alive", timedelta(hours=-1))
    first.there.ask(JOIN, "dmn_dead", timedelta(hours=1))
    name, server = f"{APPLICATION} dmn_dead", first.there.server
    of_it = server.connect(first.there.database, application_name=name, autocommit=True)
    of_a_copy = server.connect("postgres", application_name=name, autocommit=True)
    lease = Lease(first.there.place, 10.0)
    lease.start(lambda: None)
    lease.join()
    with first.there.connect(autocommit=True) as conn:

        def others() -> set[str]:
            conn.execute("UPDATE daemons SET seen_at = seen_at + interval '1 millisecond' WHERE id = 'dmn_alive'")
            rows = conn.execute("SELECT id FROM daemons WHERE id <> %s", (lease.id,))
            return {name for (name,) in rows.fetchall()}

        await first.until(lambda: "dmn_dead" not in others())
        assert others() == {"dmn_alive"}
    lease.close()
    with closing(of_a_copy):
        of_a_copy.execute("SELECT 1")
    with closing(of_it), pytest.raises(psycopg.OperationalError):
        of_it.execute("SELECT 1")


def test_an_ordered_webhook_waits_for_the_request_of_a_daemon_that_is_gone_whoever_joins_meanwhile(
    first: Daemons, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change of what is owned tells again what is held."""
    monkeypatch.setattr(share_module, "RETRY", 1e9)
    webhook = first.webhook("https://example.com", project="p", ordered=True)
    bucket = bucket_of("p")
    first.there.ask("UPDATE buckets SET ordered_from = clock_timestamp() + interval '1 hour' WHERE number = %s", bucket)
    lease = Lease(first.there.place, 10.0)
    share, schedule = Share(lease), Schedule((timedelta(0),))
    first.there.ask(JOIN, lease.id, timedelta(0))
    first.there.ask("INSERT INTO daemon_batches (daemon_id) VALUES (%s)", lease.id)
    with closing(open_database(first.there.place, first.seals)) as session:
        lease.wishes = Wishes(take=ALL)
        taken = share.settle(session, schedule, clock.now())
        lease.wishes = Wishes(give=ALL - {bucket})
        to_give = share.settle(session, schedule, clock.now())
    assert taken is not None
    assert to_give is not None
    assert taken.keys() == to_give.keys() == {webhook.id}
