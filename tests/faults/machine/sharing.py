"""Three daemons on one database: each may be frozen, killed or stopped between any two of its steps, and wakes up in the middle."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from almirant_webhooks.model import Claim, Outcome, Result
from almirant_webhooks.ops import sealing
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage.engine import ReadPlan, StorageError, Work
from almirant_webhooks.storage.postgres.daemons import LEASE
from almirant_webhooks.storage.postgres.database_session import open_database, writing
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.lease import Lease, Superseded
from almirant_webhooks.storage.postgres.share import Share
from almirant_webhooks.storage.postgres.stores import PostgresDeliveryStore
from almirant_webhooks.storage.sql import webhooks

from ...support.postgres import Outbox, new_tables
from ...support.steps import START

DAEMONS = 3
PROJECTS = [f"p{number}" for number in range(6)]  # of six buckets
TRIES = Schedule((timedelta(0), *[timedelta(seconds=1)] * 29))
INSERT = "INSERT INTO outbox (event_id, project_id, event_type, payload) VALUES (%s, %s, 'work_item.created', '{}')"
ROUNDS = 60  # within which everything has an end once nothing is in the way


class Shared:
    """One daemon: its place among the others, and what it has in memory."""

    def __init__(self, there: Outbox, seals: Seals, machine: Daemons) -> None:
        self.lease = Lease(there.place, 0.0, seconds=lambda: machine.seconds)
        self.session = open_database(there.place, seals, self.lease.application)
        self.lease.deliver_by(self.session)
        self.share = Share(self.lease)
        self.store = PostgresDeliveryStore(Inside(keep=False, share=self.share), self.lease, self.share)
        self.signed_at = float("-inf")  # when it last gave a sign of life
        self.is_frozen = self.is_leaving = False
        self.work: Work | None = None  # chosen, and not written yet
        self.begun: list[Claim] = []  # committed, and not sent yet
        self.in_flight: list[Claim] = []
        self.ended: list[Result] = []

    def close(self) -> None:
        """Close its connections."""
        self.session.close()
        self.lease.end()

    @property
    def is_idle(self) -> bool:
        return not (self.work or self.begun or self.in_flight or self.ended)


class Daemons(RuleBasedStateMachine):
    """What must hold: a project is one daemon's at a time, who is gone writes nothing, and each event arrives."""

    def __init__(self) -> None:
        super().__init__()
        # The same steps have to give the same ids, or hypothesis could not repeat what it found.
        dice = random.Random(0)
        self.known_ids = patch.object(secrets, "token_hex", lambda size: dice.randbytes(size).hex())
        self.known_ids.start()
        self.there = new_tables()
        self.seals = sealing.beside(Path(self.there.server.folder) / self.there.database)
        migrate_database(self.there.place, self.seals)
        self.seconds = 1000.0  # of a clock that nobody sets
        self.events: dict[str, str] = {}  # committed → its project
        self.requests: Counter[tuple[str, int]] = Counter()  # delivery and number of those that have left
        self.answers: dict[tuple[str, int], Outcome] = {}
        self.daemons: list[Shared] = []
        self.projects: dict[str, str] = {}  # webhook → its project

    @initialize()
    def begin(self) -> None:
        with closing(open_database(self.there.place, self.seals)) as session:
            for project in PROJECTS:
                with writing(session):
                    made = webhooks.create(
                        session, project_id=project, url="https://example.com/in", events=["*"], secret="s" * 20,
                        description="", limit=10, now=START,
                    )  # fmt: skip
                self.projects[made.id] = project
        self.daemons = [Shared(self.there, self.seals, self) for _ in range(DAEMONS)]
        self.go_on(3)

    def teardown(self) -> None:
        try:
            if self.daemons:
                self.everything_has_an_end()
        finally:
            for daemon in self.daemons:
                daemon.close()
            self.there.drop()
            self.known_ids.stop()

    @rule(project=st.sampled_from(PROJECTS))
    def insert(self, project: str) -> None:
        event = f"e{len(self.events)}"
        self.there.ask(INSERT, event, project)
        self.events[event] = project

    # What a daemon does. One that is frozen does nothing.

    def awake(self, number: int) -> Shared | None:
        daemon = self.daemons[number]
        return None if daemon.is_frozen else daemon

    @rule(number=st.integers(0, DAEMONS - 1))
    def sign(self, number: int) -> None:
        if (daemon := self.awake(number)) is None:
            return
        with suppress(StorageError):  # whoever takes it for gone ends its connections
            daemon.lease.step()
        if daemon.lease.is_lost:
            self.kill(number)
        elif daemon.lease.is_alive():
            daemon.signed_at = self.seconds

    @rule(number=st.integers(0, DAEMONS - 1), count=st.integers(1, 3), begin=st.booleans())
    def choose(self, number: int, count: int, begin: bool) -> None:
        """Settle what it owns, and decide what to write: new deliveries wait, or begin with their insertion."""
        if (daemon := self.awake(number)) is None or daemon.work is not None:
            return
        try:
            daemon.store.settle(daemon.session, TRIES, self.now)
        except Superseded:
            self.kill(number)
            return
        except StorageError:
            return
        if daemon.is_leaving and daemon.is_idle and not daemon.share.active:
            daemon.lease.end()
            self.kill(number)
            return
        may_begin = daemon.store.why_not_begin() is None
        owned = [webhook for webhook, project in self.projects.items() if daemon.share.owns(project)]
        may_begin &= bool(owned)
        if not (daemon.ended or may_begin):
            return
        daemon.work = Work(
            results=list(daemon.ended),
            starts=dict.fromkeys(owned if may_begin else (), count),
            to_read=ReadPlan(10) if may_begin else None,
            take_slot=lambda webhook, served: begin and may_begin,
        )

    @rule(number=st.integers(0, DAEMONS - 1))
    def write(self, number: int) -> None:
        """Write what was chosen, in one transaction."""
        if (daemon := self.awake(number)) is None or daemon.work is None:
            return
        work, daemon.work = daemon.work, None
        try:
            with daemon.store.transaction(daemon.session):
                written = daemon.store.write(daemon.session, work, TRIES, self.now)
        except Superseded:
            self.kill(number)
            return
        except StorageError:
            return
        there = {row[0] for row in self.there.ask("SELECT id FROM daemons")}
        assert daemon.lease.id in there, "a daemon that was taken for gone has written"
        daemon.ended = daemon.ended[len(work.results) :]
        daemon.begun += written.begun

    @rule(number=st.integers(0, DAEMONS - 1))
    def send(self, number: int) -> None:
        """Let the requests leave that were begun, if nobody can have taken this daemon for gone."""
        if (daemon := self.awake(number)) is None:
            return
        begun, daemon.begun = daemon.begun, []
        if not daemon.lease.is_alive():
            daemon.ended += [Result(claim, Outcome.INTERRUPTED, self.now, 0, free=True) for claim in begun]
            return
        for claim in begun:
            for other in self.daemons:
                if self.seconds < other.signed_at + LEASE:
                    under_way = {one.delivery_id for one in other.in_flight}
                    assert claim.delivery_id not in under_way, "sent twice at a time, and nobody is gone"
            self.requests[claim.delivery_id, claim.number] += 1
            daemon.in_flight.append(claim)

    @rule(number=st.integers(0, DAEMONS - 1), outcome=st.sampled_from([Outcome.SUCCESS, Outcome.HTTP_ERROR]))
    def answer(self, number: int, outcome: Outcome) -> None:
        """The receiver answers the oldest request."""
        if (daemon := self.awake(number)) is not None and daemon.in_flight:
            claim = daemon.in_flight.pop(0)
            self.answers[claim.delivery_id, claim.number] = outcome
            daemon.ended.append(Result(claim, outcome, self.now, 5, status_code=200))

    # What is done to daemons

    @rule(number=st.integers(0, DAEMONS - 1))
    def freeze_or_wake(self, number: int) -> None:
        self.daemons[number].is_frozen = not self.daemons[number].is_frozen

    @rule(number=st.integers(0, DAEMONS - 1))
    def kill(self, number: int) -> None:
        """Kill it, and start another in its place: what it had in memory is gone, and its connections with it."""
        gone = self.daemons[number]
        self.there.ask(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s",
            gone.lease.application,
        )
        gone.close()
        self.daemons[number] = Shared(self.there, self.seals, self)

    @rule(number=st.integers(0, DAEMONS - 1))
    def stop(self, number: int) -> None:
        """It gives what it owns once nothing is in flight there, and ends."""
        self.daemons[number].is_leaving = True
        self.daemons[number].lease.leave()

    @rule(seconds=st.sampled_from([0.3, 1.0, LEASE - 1, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds

    @rule(rounds=st.sampled_from([1, 3, 8]))
    def go_on(self, rounds: int) -> None:
        """Seconds in which whoever is not frozen does all that it does: after eight, who was frozen is gone."""
        for _ in range(rounds):
            self.seconds += 1.0
            for number in range(DAEMONS):
                self.sign(number)
                self.choose(number, 3, False)
                self.write(number)
                self.send(number)

    @rule(number=st.integers(0, DAEMONS - 1), is_written=st.booleans())
    def sleep_through_a_batch(self, number: int, is_written: bool) -> None:
        """It is frozen before or behind the transaction of a batch for so long that others take over, and goes on with it."""
        for project in PROJECTS:
            self.insert(project)
        daemon = self.daemons[number]
        self.choose(number, 3, True)
        if is_written:
            self.write(number)
        daemon.is_frozen = True
        self.go_on(8)
        daemon.is_frozen = False
        self.write(number)
        self.send(number)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    # What must hold

    @invariant()
    def a_project_is_one_daemon_s_at_a_time(self) -> None:
        alive = [daemon for daemon in self.daemons if self.seconds < daemon.signed_at + LEASE]
        owners = Counter(bucket for daemon in alive for bucket in daemon.share.active)
        assert all(count == 1 for count in owners.values()), "two daemons deliver for a project"

    def everything_has_an_end(self) -> None:
        """Each event arrives once all are awake, and the log says what happened."""
        for daemon in self.daemons:
            daemon.is_frozen = False
        for _ in range(ROUNDS):
            self.go_on(1)
            for number in range(DAEMONS):
                while self.daemons[number].in_flight:
                    self.answer(number, Outcome.SUCCESS)
            left = self.there.ask(
                "SELECT (SELECT count(*) FROM outbox), count(*) FROM deliveries WHERE state = 'pending'"
            )
            if left == [(0, 0)] and all(daemon.is_idle for daemon in self.daemons):
                break
        else:
            raise AssertionError(f"rows and deliveries wait for ever: {left}")
        rows = self.there.ask(
            "SELECT d.event_id, w.project_id, d.state FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id ORDER BY d.event_seq"
        )
        assert sorted(rows) == sorted((event, project, "succeeded") for event, project in self.events.items())
        attempts = {
            (delivery, number): Outcome(outcome)
            for delivery, number, outcome in self.there.ask("SELECT delivery_id, number, outcome FROM attempts")
        }
        for request, times in self.requests.items():
            assert times == 1, "two requests of one attempt"
            assert request in attempts, "a request that left is not shown"
        for attempt, outcome in attempts.items():
            assert outcome in (self.answers.get(attempt), Outcome.INTERRUPTED), "recorded, and it never happened"
