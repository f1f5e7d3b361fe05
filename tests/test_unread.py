"""Which rows of the outbox come next."""

from __future__ import annotations

from almirant_webhooks.db import unread
from almirant_webhooks.db.outbox import open_outbox
from almirant_webhooks.db.unread import FEW, NEWEST
from almirant_webhooks.db.worker import Worker
from almirant_webhooks.inbox import ROWS, Inbox
from almirant_webhooks.intake import Intake
from almirant_webhooks.metrics import Metrics
from almirant_webhooks.troubles import Troubles

from .steps import Steps


def _insert(steps: Steps, project_id: str, count: int, payload: str = "{}") -> None:
    steps.outbox.executemany(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'lead.created', ?)",
        [(project_id, payload)] * count,
    )


def _next(steps: Steps, limit: int) -> list[tuple[int, str]]:
    return [(row.id, str(row.project_id)) for row in unread.read_unread(steps.outbox, limit)]


def test_rows_come_in_their_order_where_all_fit(steps: Steps) -> None:
    """Whoever inserted them."""
    for project in ("a", "b", "a"):
        _insert(steps, project, 1)
    assert _next(steps, 10) == [(1, "a"), (2, "b"), (3, "a")]


def test_a_project_that_inserts_very_much_at_once_is_not_in_front_of_all_others(steps: Steps) -> None:
    """Another's few, inserted after it, come next; and the oldest row is the first of every batch."""
    _insert(steps, "loud", 100)
    _insert(steps, "quiet", 2)
    assert _next(steps, 6) == [(1, "loud"), (101, "quiet"), (102, "quiet"), (2, "loud"), (3, "loud"), (4, "loud")]
    _insert(steps, "other", 200)
    assert _next(steps, 6) == [
        (1, "loud"), (239, "other"), (2, "loud"), (240, "other"), (3, "loud"), (241, "other")
    ]  # fmt: skip


def test_many_that_have_few_leave_half_of_a_batch_to_turns(steps: Steps) -> None:
    """Whoever has a backlog gets its turn in each, however many others trickle."""
    _insert(steps, "loud", 40)
    _insert(steps, "louder", 100)
    for number in range(20):
        _insert(steps, f"quiet-{number}", 1)
    assert [row for row, _ in _next(steps, 10)] == [1, 141, 142, 143, 144, 145, 41, 146, 147, 148]


def test_a_row_tells_whether_its_project_has_few_that_wait(steps: Steps) -> None:
    """Those that are in hand count; where more wait than are looked at, whoever has one among the oldest may have many."""
    _insert(steps, "p", FEW)
    (first, *rest) = unread.read_unread(steps.outbox, 100)
    assert all(row.is_of_few for row in (first, *rest))
    _insert(steps, "p", 1)
    assert [row.is_of_few for row in unread.read_unread(steps.outbox, 100, {first.id})] == [False] * FEW
    _insert(steps, "loud", 100)
    _insert(steps, "quiet", 1)
    read = unread.read_unread(steps.outbox, 100)
    assert {row.project_id for row in read if row.is_of_few} == {"quiet"}
    assert [row.project_id for row in unread.read_unread(steps.outbox, 8, only_few=True)] == ["quiet"]


def test_whoever_fills_the_newest_rows_that_are_looked_at_does_not_count_as_having_few(steps: Steps) -> None:
    """Its backlog may begin before them."""
    for project, count in (("old", 200), ("middle", 100), ("new", NEWEST - 8), ("quiet", 1)):
        _insert(steps, project, count)
    read = unread.read_unread(steps.outbox, 100)
    assert {row.project_id for row in read if row.is_of_few} == {"quiet"}
    assert "middle" in {row.project_id for row in read}


def test_rows_may_go_while_they_are_chosen(steps: Steps) -> None:
    """Somebody deletes them between the look at the oldest and the one at the newest."""
    _insert(steps, "loud", 100)

    def look(statement: str) -> None:
        if "DESC" in statement:
            steps.conn.execute("DELETE FROM outbox")

    steps.outbox.set_trace_callback(look)
    assert unread.read_unread(steps.outbox, 10) == []
    assert steps.conn.execute("SELECT count(*) FROM outbox").fetchone()[0] == 0


def test_a_row_that_is_no_text_takes_nothing_from_the_others_of_its_batch(steps: Steps) -> None:
    """They are read as bytes with it, and go first all the same."""
    _insert(steps, "loud", 100)
    steps.outbox.execute("PRAGMA ignore_check_constraints=ON")
    steps.outbox.execute(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('odd', 'lead.created', CAST(x'ff' AS TEXT))"
    )
    steps.outbox.execute("PRAGMA ignore_check_constraints=OFF")
    assert [row.project_id for row in unread.read_unread(steps.outbox, 100) if row.is_of_few] == [b"odd"]


async def test_what_a_few_insert_is_read_though_enough_of_others_is_in_hand(steps: Steps) -> None:
    """Not looked for again until the newest row is another."""
    _insert(steps, "loud", 300)
    worker = await Worker(lambda: open_outbox(steps.path, None)).open()
    box = Inbox(one_file=True)
    metrics = Metrics()
    intake = Intake(worker, box, metrics, Troubles(metrics), poll_interval=1, known_types=frozenset())
    while await intake._read():
        pass
    assert len(box.rows) == 2 * ROWS
    _insert(steps, "quiet", 1)
    intake._looked_at = 0.0
    assert await intake._read()
    assert [row.project_id for row in box.few] == ["quiet"]
    box.rows.popitem()
    intake._looked_at = 0.0
    assert not await intake._read()
    await worker.close()


def test_rows_in_hand_are_not_read_again(steps: Steps) -> None:
    """What comes after them is."""
    _insert(steps, "p", 5)
    assert [row.id for row in unread.read_unread(steps.outbox, 2, {1, 2, 4})] == [3, 5]


def test_a_batch_is_bounded_in_bytes_too(steps: Steps) -> None:
    """The row that reaches eight MiB is its last."""
    _insert(steps, "loud", 40, '{"a": "' + "x" * (256 * 1024 - 9) + '"}')
    assert len(_next(steps, 100)) == 33
