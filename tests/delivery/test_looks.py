"""When the delivery thread looks for a commit whose write was noticed: a write is seen before its commit is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from almirant_webhooks.delivery.commits import LOOK_WAIT, LOOKS_LAST, Commits
from almirant_webhooks.delivery.outbox_reader import OutboxReader
from almirant_webhooks.delivery.pace import Pace
from almirant_webhooks.ops.metrics import Metrics
from almirant_webhooks.storage.sqlite.delivery_store import SqliteDeliveryStore
from almirant_webhooks.storage.sqlite.outbox_stores import OutboxInDatabase

from ..support.steps import Steps

pytestmark = pytest.mark.sqlite

INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', '{}')"


@pytest.fixture
def producer(steps: Steps) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(steps.path, isolation_level=None)) as conn:
        yield conn


@pytest.fixture
def pace() -> Pace:
    return Pace()


@pytest.fixture
def looks(steps: Steps, pace: Pace) -> Commits:
    made = Commits(
        SqliteDeliveryStore(steps.path), OutboxReader(Metrics(), frozenset(), OutboxInDatabase(Path("nowhere"))), pace
    )
    made.look(steps.conn, 99.0)  # the first one after a start tells of what was there before
    return made


def test_a_look_that_comes_before_the_commit_is_repeated_at_once(
    steps: Steps, looks: Commits, producer: sqlite3.Connection
) -> None:
    """Until the commit is there, or for two milliseconds: others look later."""
    producer.execute("BEGIN IMMEDIATE")
    producer.execute(INSERT)
    assert not looks.look(steps.conn, 100.0)
    assert looks.next_look(100.0) == LOOK_WAIT
    assert not looks.look_again(steps.conn, 100.0 + LOOK_WAIT)
    producer.execute("COMMIT")
    assert looks.look_again(steps.conn, 100.0 + 2 * LOOK_WAIT)
    assert looks.next_look(100.0 + 2 * LOOK_WAIT) is None


def test_a_commit_that_does_not_come_is_not_waited_for(
    steps: Steps, looks: Commits, producer: sqlite3.Connection
) -> None:
    """It is found by the next look that is asked for."""
    assert not looks.look(steps.conn, 100.0)
    assert looks.next_look(100.0 + LOOKS_LAST) is None
    producer.execute(INSERT)
    assert not looks.look_again(steps.conn, 100.0 + LOOKS_LAST)
    assert looks.look(steps.conn, 100.1)


def test_only_the_first_look_after_a_write_is_repeated_at_once(steps: Steps, looks: Commits) -> None:
    """The later ones are many: each would be seven. Looks that are asked for while others wait are these."""
    assert looks.ask(False)
    assert not looks.step(steps.conn, 100.0)
    assert looks.next_look(100.0) is None
    assert [looks.ask(first) for first in (False, False, False, True, False)] == [True, True, False, True, False]
    assert not looks.step(steps.conn, 101.0)
    assert looks.next_look(101.0) == LOOK_WAIT


def test_what_a_batch_has_read_is_no_news_after_it(steps: Steps, looks: Commits, producer: sqlite3.Connection) -> None:
    """It was committed while the batch waited for the lock: nothing has to be read for it again."""
    producer.execute(INSERT)
    looks.pass_by(steps.conn, 100.0)
    assert not looks.look(steps.conn, 100.1)
    producer.execute(INSERT)
    assert looks.look(steps.conn, 100.2)


def test_a_write_of_our_own_is_followed_by_no_commit_of_others(steps: Steps, looks: Commits, pace: Pace) -> None:
    """What was noticed may be the last batch: the next look that finds nothing after it is of somebody else's again."""
    pace.observe_batch(99.4, 99.5, 99.6, 10)
    assert not looks.look(steps.conn, 100.0)
    assert looks.next_look(100.0) is None
    assert not looks.look(steps.conn, 101.0)
    assert looks.next_look(101.0) == LOOK_WAIT
