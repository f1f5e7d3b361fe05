"""The database and the world outside of it, and what producers and admins do."""

from __future__ import annotations

import random
import secrets
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, NotFound, Options, Refused, Result
from almirant_webhooks.rules import filters
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.storage.engine import FanOut
from almirant_webhooks.storage.sql import (
    deliveries,
    replays,
    resends,
    webhooks,
)

from ...support.steps import START, Steps, transaction
from ..limits import LIMITS, Limits
from ..places import Places

KEPT = timedelta(days=3650)


class People(RuleBasedStateMachine):
    """Two files or a database of a server, a clock that goes on, and what the world outside knows."""

    @staticmethod
    def made_in(folder: Path) -> Steps:
        """Make the database, whose steps are taken."""
        return Steps(folder / "log.db", folder / "outbox.db")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        # The same steps have to give the same ids, or hypothesis could not repeat what it found.
        dice = random.Random(0)
        self.known_ids = patch.object(secrets, "token_hex", lambda size: dice.randbytes(size).hex())
        self.known_ids.start()
        self.steps = self.made_in(self.folder)
        self.steps.bind()
        self.read: Any = None
        self.done: FanOut | None = None
        self.now = START
        self.acknowledged: dict[str, set[str]] = {}  # event → the webhooks there were when it was fanned out
        self.waiting: set[str] = set()  # acknowledged, and not fanned out yet
        self.ids: set[int] = set()
        self.webhooks: dict[str, bool] = {}  # webhook → enabled
        self.in_flight: list[Claim] = []
        self.requests: list[tuple[str, int, bytes]] = []  # what has left: delivery, number, bytes
        self.reached: Counter[str] = Counter()
        self.discarded: set[str] = set()
        self.unrecorded: list[Result] = []
        self.taken: dict[str, str] = {}  # event → when it was taken
        self.replays: dict[str, tuple[str, set[str]]] = {}  # replay under way → its webhook, and the events of its time
        # Of each webhook its counted failures since the last success or enabling: begin, and whether a delivery was given up.
        self.failures: dict[str, list[tuple[str, bool]]] = {}
        self.limits = Limits()
        self.places = Places()
        self.filters: dict[str, int | None] = {}  # webhook → it gets what has a number above that
        self.filtered_out: set[tuple[str, str]] = set()  # event and webhook, as the filter was at the fan-out
        self.filters_since: dict[str, list[int | None]] = {}  # replay → the filters that its webhook has had since

    @property
    def conn(self) -> Any:
        """The session of the database."""
        return self.steps.conn

    @property
    def outbox(self) -> Any:
        """The session of the outbox."""
        return self.steps.outbox

    def restart(self) -> None:
        """Forget what was read, and go on as a new process does."""
        self.steps.restart()
        self.read = self.done = None

    def teardown(self) -> None:
        self.steps.close()
        shutil.rmtree(self.folder)
        self.known_ids.stop()

    # Producers and admins

    @rule(number=st.integers(1, 10_000), rolled_back=st.booleans())
    def insert(self, number: int, rolled_back: bool) -> None:
        """Ids come in any order: a producer may give its own, and transactions overtake each other."""
        if number in self.ids:
            return
        event = f"e{number}"
        with suppress(ZeroDivisionError), transaction(self.outbox):
            self.steps.insert_with_number(number, event, f'{{"n": {number}}}')
            if rolled_back:
                raise ZeroDivisionError
        if not rolled_back:
            self.ids.add(number)
            self.acknowledged[event] = set()
            self.waiting.add(event)

    @initialize()
    def begin(self) -> None:
        """Most steps need a webhook and an event."""
        self.create()
        self.create()
        self.insert(7, False)
        self.insert(3, False)

    @precondition(lambda self: len(self.webhooks) < 3)
    @rule()
    def create(self) -> None:
        with transaction(self.conn):
            made = webhooks.create(
                self.conn,
                project_id="p",
                url="https://example.com/in",
                events=["*"],
                secret="s" * 20,
                description="",
                limit=100,
                now=self.now,
            )
        self.webhooks[made.id] = True
        self.limits.limits[made.id] = None

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), discard=st.booleans())
    def switch(self, data: st.DataObject, discard: bool) -> None:
        self.enable_or_disable(data.draw(st.sampled_from(sorted(self.webhooks))), discard)

    def enable_or_disable(self, webhook: str, discard: bool) -> None:
        self.webhooks[webhook] = not self.webhooks[webhook]
        if self.webhooks[webhook]:
            self.failures[webhook] = []
        with transaction(self.conn):
            if self.webhooks[webhook]:
                if discard:
                    held_now = "SELECT delivery_id FROM delivery_log WHERE webhook_id = ? AND held"
                    self.discarded |= {row[0] for row in self.conn.execute(held_now, (webhook,))}
                webhooks.enable(self.conn, webhook, discard_held=discard, now=self.now)
            else:
                webhooks.disable(self.conn, webhook, self.now)

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), limit=st.sampled_from(LIMITS))
    def set_rate_limit(self, data: st.DataObject, limit: str | None) -> None:
        self.limit_rate(data.draw(st.sampled_from(sorted(self.webhooks))), limit)

    def limit_rate(self, webhook: str, limit: str | None) -> None:
        with transaction(self.conn):
            webhooks.update(self.conn, webhook, options={"rate_limit": limit}, now=self.now)
        self.limits.limits[webhook] = limit

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), above=st.sampled_from([None, 5, 5000]))
    def set_filter(self, data: st.DataObject, above: int | None) -> None:
        """It counts from the next fan-out on, and rewrites no verdict."""
        self.filter_events(data.draw(st.sampled_from(sorted(self.webhooks))), above)

    def filter_events(self, webhook: str, above: int | None) -> None:
        filter_ = None if above is None else filters.check([f"data.n > {above}"])
        with transaction(self.conn):
            webhooks.update(self.conn, webhook, options={"filter": filter_}, now=self.now)
        self.filters[webhook] = above
        for replay, (replayed, _) in self.replays.items():
            if replayed == webhook:
                self.filters_since[replay].append(above)

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data())
    def set_ordered(self, data: st.DataObject) -> None:
        """A webhook sends in order, or no longer, whatever is in flight or waits."""
        self.switch_order(data.draw(st.sampled_from(sorted(self.webhooks))))

    def switch_order(self, webhook: str) -> None:
        self.places.ordered ^= {webhook}
        with transaction(self.conn):
            options: Options = {"ordered": webhook in self.places.ordered or None}
            webhooks.update(self.conn, webhook, options=options, now=self.now)

    def lets_through(self, above: int | None, event: str) -> bool:
        return above is None or int(event.removeprefix("e")) > above

    @rule()
    def read_limits(self) -> None:
        """The daemon hears of a change; a batch may come before that."""
        self.limits.read(self.conn, self.now)

    @precondition(lambda self: len(self.webhooks) > 2)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        webhook = data.draw(st.sampled_from(sorted(self.webhooks)))
        with transaction(self.conn):
            webhooks.delete(self.conn, webhook, self.now)
        del self.webhooks[webhook]
        self.places.ordered.discard(webhook)
        for wanted in self.acknowledged.values():
            wanted.discard(webhook)
        self.filtered_out = {(event, other) for event, other in self.filtered_out if other != webhook}
        self.replays = {replay: there for replay, there in self.replays.items() if there[0] != webhook}

    @rule(data=st.data())
    def resend(self, data: st.DataObject) -> None:
        there = sorted({delivery_id for delivery_id, _, _ in self.requests})
        if there:
            with suppress(NotFound, Refused), transaction(self.conn):
                deliveries.request_resend(self.conn, data.draw(st.sampled_from(there)), self.now)

    @precondition(lambda self: self.webhooks)
    @rule(data=st.data(), include_cancelled=st.booleans())
    def replay(self, data: st.DataObject, include_cancelled: bool) -> None:
        """All that was taken until now; what is in the future of a clock that was set back is not."""
        self.start_replay(data.draw(st.sampled_from(sorted(self.webhooks))), include_cancelled)

    def start_replay(self, webhook: str, include_cancelled: bool) -> None:
        selection = ReplaySelection(webhook, START - KEPT, include_cancelled=include_cancelled)
        events = self.conn.execute("SELECT id FROM events WHERE created_at <= ?", (clock.text(self.now),)).fetchall()
        with suppress(Refused), transaction(self.conn):
            counted = replays.count(self.conn, selection, now=self.now, kept=KEPT)
            replay = replays.start(self.conn, selection, counted, actor="operator", now=self.now)
            self.replays[replay] = (webhook, {row[0] for row in events})
            self.filters_since[replay] = [self.filters.get(webhook)]

    @precondition(lambda self: self.replays)
    @rule(data=st.data())
    def cancel_replay(self, data: st.DataObject) -> None:
        replay = data.draw(st.sampled_from(sorted(self.replays)))
        waiting = "SELECT id FROM deliveries WHERE resend_id = ? AND resend_requested_at IS NOT NULL AND begun = 0"
        self.discarded |= {row[0] for row in self.conn.execute(waiting, (replay,))}
        with transaction(self.conn):
            resends.cancel(self.conn, replay, actor="operator", now=self.now)
        del self.replays[replay]
