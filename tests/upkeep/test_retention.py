"""Old rows go in small steps, and the file shrinks; nothing goes before its time."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome
from almirant_webhooks.storage.sql import audit, held, retention, search, webhooks
from almirant_webhooks.storage.sqlite import free_pages

from ..conftest import Receiver
from ..support.service import Service
from ..support.steps import START, Steps, transaction

DAY = timedelta(days=1)
MOMENT = timedelta(milliseconds=1)
KEPT = {"succeeded": 30 * DAY, "failed": 90 * DAY}


def sweep(there: Steps, now: datetime, limit: int = 2) -> dict[str, int]:
    """Sweep in steps of two rows, and hold that the dry run counted the same."""
    *_, counted = retention.count(there.conn, **KEPT, now=now)
    walk = retention.Sweep(**KEPT, now=now)
    more = True
    while more:
        with transaction(there.conn):
            more = walk.step(there.conn, limit)
    removed = dict(walk.removed)
    assert {name: removed.get(name, 0) for name in counted} == counted
    return removed


def count(there: Steps, table: str) -> int:
    return int(there.conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.mark.sqlite
def test_looking_for_what_was_held_too_long_reads_no_other_backlog(steps: Steps) -> None:
    """With thousands of deliveries due, and one held by a webhook disabled for a day, SQLite has little to do."""
    for _ in range(20):
        steps.webhook(events=["lead.created"])
    for _ in range(100):
        steps.event(START, "lead.created")
    disabled = steps.webhook(events=["lead.updated"])
    steps.event(START, "lead.updated")
    with transaction(steps.conn):
        webhooks.disable(steps.conn, disabled.id, START)
    hundreds: list[int] = []  # of SQLite's instructions
    steps.conn.set_progress_handler(lambda: hundreds.append(1), 100)
    with transaction(steps.conn):
        walk = held.TooLong(START + DAY)
        walk.step(steps.conn, 500)
        assert walk.removed.total() == 1
    steps.conn.set_progress_handler(None, 0)
    assert count(steps, "deliveries") == 2001
    assert len(hundreds) < 20


def test_deliveries_go_when_their_state_s_time_is_over_and_events_with_their_last_one(steps: Steps) -> None:
    """Counted from the last attempt; a pending one is never touched."""
    good, bad, slow = (steps.webhook(events=[kind]) for kind in ("lead.created", "lead.updated", "sprint.*"))
    for _ in range(3):
        steps.event(START, "lead.created")
        steps.attempt(good, START, Outcome.SUCCESS, status_code=200)
    steps.event(START, "lead.updated")
    at = START
    for wait in (0, 1, 5, 30, 120):
        at += timedelta(minutes=wait)
        steps.attempt(bad, at, Outcome.TIMEOUT)
    steps.event(START, "sprint.closed")
    steps.event(START, "work_item.moved")  # unmatched
    assert sweep(steps, START + 30 * DAY)["deliveries"] == 0
    assert sweep(steps, START + 30 * DAY + MOMENT)["deliveries"] == 3
    assert (count(steps, "deliveries"), count(steps, "events"), count(steps, "attempts")) == (2, 2, 5)
    assert sweep(steps, at + 90 * DAY)["deliveries"] == 0
    assert sweep(steps, at + 90 * DAY + MOMENT) == {
        "deliveries": 1, "events": 1, "hours": 0, "audit": 0, "resends": 0,
    }  # fmt: skip
    assert [row["webhook_id"] for row in search.newest(steps.conn)] == [slow.id]
    assert (count(steps, "events"), count(steps, "attempts")) == (1, 0)


def test_a_resend_counts_as_the_last_attempt(steps: Steps) -> None:
    """What was sent again yesterday stays in the log, however old the event is."""
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    delivery = steps.only()["delivery_id"]
    steps.resend(delivery, START + 40 * DAY)
    assert sweep(steps, START + 40 * DAY)["deliveries"] == 0
    steps.attempt(webhook, START + 40 * DAY, Outcome.SUCCESS, status_code=200)
    assert sweep(steps, START + 41 * DAY)["deliveries"] == 0
    assert sweep(steps, START + 71 * DAY)["deliveries"] == 1


def test_taken_rows_of_the_outbox_go_first_and_rejected_ones_with_what_failed(steps: Steps) -> None:
    """An unread row is never touched."""
    steps.event()
    steps.outbox_part.insert(steps.outbox, project_id="almirant", event_type="lead.created", payload="{}", event_id="r")
    steps.event()
    steps.outbox.execute("UPDATE outbox SET occurred_at = ?", (clock.text(START),))
    steps.outbox_part.insert(steps.outbox, project_id="p", event_type="lead.created", payload="{}", event_id="unread")
    steps.outbox.execute("UPDATE outbox SET occurred_at = ? WHERE event_id = 'unread'", (clock.text(START),))

    def prune(now: datetime) -> int:
        before = clock.text(now - 7 * DAY), clock.text(now - 90 * DAY)
        counted: int = steps.outbox_part.count_old(steps.outbox, *before)
        rejected = steps.rejected_part.Sweep(before[1])
        with transaction(steps.outbox):
            taken = steps.outbox_part.prune(steps.outbox, before[0], 100)
            rejected.step(steps.outbox, 100)
        assert taken + rejected.removed.total() == counted
        return counted

    assert prune(START + 7 * DAY) == 0
    assert prune(START + 7 * DAY + MOMENT) == 2
    assert prune(START + 90 * DAY) == 0
    assert prune(START + 90 * DAY + MOMENT) == 1
    assert count(steps, "outbox") == 1


def test_the_audit_trail_is_kept_for_longer_than_a_year(steps: Steps) -> None:
    """It is small, and asked for late."""
    webhook = steps.webhook()
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START + DAY)
    assert sweep(steps, START + 400 * DAY)["audit"] == 0
    assert sweep(steps, START + 400 * DAY + MOMENT)["audit"] == 1
    assert [entry["action"] for entry in audit.entries(steps.conn)] == ["webhook.disabled"]


@pytest.mark.long
@pytest.mark.sqlite
def test_the_file_s_space_is_given_back_but_for_what_is_soon_used_again(steps: Steps) -> None:
    """Some pages at a time."""
    webhook = steps.webhook()
    for _ in range(20):
        steps.event()
    for claim in [claim for _ in range(2) for claim in steps.claim(webhook, START)]:
        steps.record(claim, Outcome.SUCCESS, START, status_code=200, response_body=b"x" * 1024 * 1024)

    def pages() -> int:
        return int(steps.conn.execute("PRAGMA page_count").fetchone()[0])

    before = pages()
    assert before > 5000
    sweep(steps, START + 31 * DAY)
    steps_taken = 0
    while True:
        with transaction(steps.conn):
            pages_released = free_pages.release_pages(steps.conn, 500)
        if not pages_released:
            break
        assert pages_released <= 500
        steps_taken += 1
    assert steps_taken > 5
    assert free_pages.SPARE_PAGES <= pages() < 0.3 * before
    steps.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert steps.path.stat().st_size == pages() * 4096


def test_what_was_made_while_the_clock_was_ahead_hides_nothing_that_is_old(steps: Steps) -> None:
    """One sweep removes every old event and entry behind it, in however many steps; what is ahead waits for its time."""
    ahead = START + 365 * DAY
    for number in range(40):
        steps.event(ahead if number == 3 else START)
    webhook = steps.webhook(now=ahead)
    for _ in range(10):
        with transaction(steps.conn):
            webhooks.disable(steps.conn, webhook.id, START)
            webhooks.enable(steps.conn, webhook.id, discard_held=False, now=START)
    removed = sweep(steps, START + 31 * DAY)
    assert (removed["events"], count(steps, "events")) == (39, 1)
    assert sweep(steps, START + 401 * DAY)["audit"] == 20
    assert [entry["action"] for entry in audit.entries(steps.conn)] == ["webhook.created"]


def test_a_delivery_with_very_many_attempts_goes_in_steps_too(steps: Steps) -> None:
    """Resends make any number of them; its row goes with the last."""
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    delivery = steps.only()["delivery_id"]
    for _ in range(30):
        steps.resend(delivery, START)
        steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    walk, left = retention.Sweep(**KEPT, now=START + 31 * DAY), []
    with transaction(steps.conn):
        while walk.step(steps.conn, 1):
            left.append(count(steps, "attempts"))
    assert left[:4] == [21, 11, 1, 0]
    assert (walk.removed["deliveries"], walk.removed["events"]) == (1, 1)


@pytest.mark.sqlite
async def test_the_daemon_prunes_by_itself_and_the_command_does_so_at_once(
    service: Service, receiver: Receiver, tmp_path: Any
) -> None:
    """`--dry-run` counts and removes nothing."""
    await service.start()
    service.webhook(receiver.url)
    service.insert({}, {})
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    await service.stop()
    there = service.shell(tmp_path)
    there.config.write_text(there.config.read_text() + '[retention]\nsucceeded = "1ms"\noutbox = "1ms"\n')
    expected = {"deliveries": 2, "events": 2, "outbox": 2}
    assert json.loads(there.ours("prune", "--dry-run", "--json")) == expected
    assert len(service.log()) == 2
    service.options["retention"] = {"succeeded": "1ms"}
    await service.start()
    await service.until(lambda: not service.log())
    await service.stop()
    done = json.loads(there.ours("prune", "--json"))
    assert (done["deliveries"], done["outbox"]) == (0, 2)
