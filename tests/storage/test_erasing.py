"""Erasing the content of events: nothing of it is left in any file, what waits is cancelled, the record stays."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome, Refused
from almirant_webhooks.rules.erasing import ERASED_BODY, ERASED_PAYLOAD
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.engine import FanOut, ReadPlan
from almirant_webhooks.storage.sql import (
    deliveries,
    erasing,
    fanout,
    later_deliveries,
    log,
    replays,
    resend_steps,
    resends,
    revisions,
    search,
)
from almirant_webhooks.storage.sqlite import erasing_outbox, marking, outbox, unread, wal
from almirant_webhooks.storage.sqlite.connection import transaction

from ..support.bytes import files_with
from ..support.fresh import make_database
from ..support.steps import SCHEDULE, START, Steps

pytestmark = pytest.mark.sqlite

NEEDLE = "Søren Kierkegaard 4711"
WITH_NEEDLE = json.dumps({"who": NEEDLE}, ensure_ascii=False)


def insert(steps: Steps, payload: str, event_id: str | None = None) -> str:
    return outbox.insert(steps.outbox, project_id="p", event_type="lead.created", payload=payload, event_id=event_id)


def take(steps: Steps) -> FanOut:
    """Fan out what waits, and mark it."""
    rows = unread.read_unread(steps.outbox, ReadPlan(100))
    with transaction(steps.conn):
        taken = fanout.fan_out(steps.conn, rows, SCHEDULE.waits[0], START)
    with transaction(steps.outbox):
        marking.mark(steps.outbox, taken, taken.marks, taken.batch, clock.text(START))
    return taken


def event_of(steps: Steps, payload: str = WITH_NEEDLE) -> str:
    """Insert an event and have it taken; return its id."""
    event = insert(steps, payload)
    take(steps)
    return event


def rows_of(steps: Steps) -> list[dict[str, Any]]:
    return [dict(row) for row in search.newest(steps.conn)]


def erase(steps: Steps, *events: str) -> erasing.Erasure:
    """Erase events by id with the smallest steps."""
    found = [erasing.find(steps.conn, event, None) for event in events]
    walk = erasing.erasure([event.seq for event in found if event is not None], START)
    going = True
    while going:
        with transaction(steps.conn):
            going = walk.step(steps.conn, 1)
    with transaction(steps.outbox):
        erasing_outbox.erase_of_events(
            steps.outbox, [(event.project_id, event.event_id) for event in found if event is not None]
        )
    return walk


def clean(steps: Steps) -> bool:
    """Empty the WAL as the daemon does."""
    since = erasing.unclean_since(steps.conn)
    if since is None or not wal.empty_wal(steps.conn):
        return False
    with transaction(steps.conn):
        erasing.note_clean(steps.conn, since)
    return True


def row(steps: Steps, table: str, where: str = "1") -> dict[str, Any]:
    return dict(steps.conn.execute(f"SELECT * FROM {table} WHERE {where}").fetchone())


@pytest.mark.parametrize("size", [40, 900, 20_000])
def test_the_bytes_are_gone_from_every_file(steps: Steps, size: int) -> None:
    """Table, outbox, free pages and WAL; of a short body, and of one on many pages of its own."""
    payload = json.dumps({"who": NEEDLE, "more": "x" * size}, ensure_ascii=False)
    webhook = steps.webhook()
    events = [event_of(steps, payload) for _ in range(10)]
    answer = {"response_body": payload.encode()[:16384], "response_headers": (("X-Echo", NEEDLE),)}
    for claim in steps.claim(webhook, START):
        steps.record(claim, Outcome.HTTP_ERROR, START, status_code=500, **answer)
    folder = Path(steps.conn.execute("PRAGMA database_list").fetchone()[2]).parent
    assert files_with(folder, NEEDLE.encode())
    walk = erase(steps, *events)
    assert walk.removed == {"events": 10, "deliveries": 10}
    assert erasing.unclean_since(steps.conn)
    assert wal.empty_outbox_wal(steps.outbox)
    assert clean(steps)
    assert files_with(folder, NEEDLE.encode()) == []
    assert erasing.unclean_since(steps.conn) is None


@pytest.mark.parametrize(("tables", "emptied"), [(("_litestream_lock", "_litestream_seq"), True), (("orders",), False)])
def test_an_outbox_that_litestream_copies_is_no_application_s(
    tmp_path: Path, tables: tuple[str, ...], emptied: bool
) -> None:
    """It makes two tables in each file that it copies. The WAL is emptied all the same; an application's is its own."""
    path = tmp_path / "outbox.db"
    make_database(tmp_path / "log.db", path)
    wal_file = path.with_name("outbox.db-wal")
    with closing(outbox.open_outbox(tmp_path / "log.db", path)) as conn:
        for table in tables:
            conn.execute(f"CREATE TABLE {table} (id INTEGER)")
        assert wal_file.stat().st_size
        assert wal.empty_outbox_wal(conn)
        assert (wal_file.stat().st_size == 0) is emptied


def test_a_body_that_a_template_made_goes_as_well(steps: Steps) -> None:
    """It is kept beside the event's own; the size of what was sent stays known."""
    webhook = steps.webhook(options={"template": '{"text": "{{ data.who }} is here"}'})
    event = event_of(steps)
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    (before,) = [log.delivery(steps.conn, one["delivery_id"]) for one in rows_of(steps)]
    assert NEEDLE in (before["body"] or "")
    erase(steps, event)
    assert clean(steps)
    (after,) = [log.delivery(steps.conn, one["delivery_id"]) for one in rows_of(steps)]
    assert after["body"] == ERASED_BODY
    assert after["attempt_list"][0]["request_headers"] == before["attempt_list"][0]["request_headers"]
    assert files_with(steps.path.parent, NEEDLE.encode()) == []


def test_the_record_stays_and_what_waits_is_cancelled(steps: Steps) -> None:
    """Types, ids and attempts are there, with the size of what was sent; a delivery that had ended keeps its state."""
    good, waiting = steps.webhook(), steps.webhook()
    event = event_of(steps)
    steps.attempt(good, START, Outcome.SUCCESS, status_code=200, response_body=b"ok")
    before = {one["webhook_id"]: log.delivery(steps.conn, one["delivery_id"]) for one in rows_of(steps)}
    erase(steps, event)
    after = {webhook: log.delivery(steps.conn, one["delivery_id"]) for webhook, one in before.items()}
    assert [after[webhook]["state"] for webhook in (good.id, waiting.id)] == ["succeeded", "cancelled"]
    assert after[waiting.id]["cancelled_reason"] == "its content was erased"
    assert {one["body"] for one in after.values()} == {ERASED_BODY}
    (sent,), (kept,) = before[good.id]["attempt_list"], after[good.id]["attempt_list"]
    assert kept["request_headers"] == sent["request_headers"]
    assert (kept["status_code"], kept["response_body"], sent["response_body"]) == (200, "", "ok")
    assert log.event(steps.conn, event)["erased_at"] == clock.text(START)
    assert deliveries.first_due(steps.conn, [good.id, waiting.id]) == {}


def test_erasing_what_waits_lets_the_loop_look_again(steps: Steps) -> None:
    """What waited behind it at an ordered webhook is due; where nothing waits nothing is read anew."""
    webhook = steps.webhook(options={"ordered": True})
    first = event_of(steps)
    before = revisions.revision(steps.conn)
    erase(steps, first)
    assert revisions.revision(steps.conn) > before
    done = event_of(steps)
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    before = revisions.revision(steps.conn)
    erase(steps, done)
    assert revisions.revision(steps.conn) == before


def test_an_answer_that_comes_late_is_dropped(steps: Steps) -> None:
    """The attempt is recorded with its status, and what it was sent; nothing of the answer is."""
    webhook = steps.webhook()
    event = event_of(steps)
    (claim,) = steps.claim(webhook, START)
    erase(steps, event)
    answer = {"response_body": NEEDLE.encode(), "response_headers": (("X-Echo", NEEDLE),)}
    steps.record(claim, Outcome.SUCCESS, START, status_code=200, **answer)
    attempt = row(steps, "attempts")
    assert (attempt["outcome"], attempt["response_body"], attempt["response_headers"]) == ("success", None, None)
    assert row(steps, "deliveries")["in_flight"] == 0


def test_an_erased_event_swallows_a_second_insert_as_a_duplicate(steps: Steps) -> None:
    """Whatever it holds, as there is nothing to compare; and its payload goes as well."""
    steps.webhook()
    event = event_of(steps)
    erase(steps, event)
    with closing(sqlite3.connect(steps.path)) as producer, producer:
        producer.execute("DELETE FROM outbox")
        producer.execute(
            "INSERT INTO outbox (event_id, project_id, event_type, payload) SELECT id, project_id, event_type, ? FROM events",
            (json.dumps({"who": NEEDLE}),),
        )
    taken = take(steps)
    assert (taken.events, taken.duplicates, taken.rejected) == (0, 1, [])
    stored = dict(steps.outbox.execute("SELECT payload, fanned_out_at, rejected_reason FROM outbox").fetchone())
    assert stored["payload"].rstrip() == ERASED_PAYLOAD
    assert stored["fanned_out_at"]
    assert erasing.unclean_since(steps.conn)


def test_the_api_takes_it_for_the_same_event_too(steps: Steps) -> None:
    """While its row is still in the outbox."""
    event = event_of(steps)
    erase(steps, event)
    assert insert(steps, '{"other": 1}', event) == event


def test_a_row_whose_content_was_erased_makes_no_event(steps: Steps) -> None:
    """As after an older database was restored beside its outbox: nothing is sent of it."""
    steps.webhook()
    insert(steps, ERASED_PAYLOAD)
    taken = take(steps)
    assert (taken.events, [mark.rejected_reason for mark in taken.marks]) == (0, ["its content was erased"])


def test_a_resend_says_that_the_body_is_gone_and_one_of_many_leaves_it_out(steps: Steps) -> None:
    """Single and many."""
    webhook = steps.webhook()
    events = [event_of(steps, "{}") for _ in range(2)]
    for claim in steps.claim(webhook, START):
        steps.record(claim, Outcome.SUCCESS, START, status_code=200)
    assert resends.count(steps.conn, Selection(webhook_id=webhook.id)) == {webhook.id: 2}
    erase(steps, events[0])
    assert resends.count(steps.conn, Selection(webhook_id=webhook.id)) == {webhook.id: 1}
    (gone,) = [one["delivery_id"] for one in rows_of(steps) if one["event_id"] == events[0]]
    with pytest.raises(Refused, match=f"{gone} cannot be sent: the body is gone, as its content was erased"):
        deliveries.request_resend(steps.conn, gone, START)


def test_a_replay_skips_and_counts_it_and_it_is_sent_to_nobody_else(steps: Steps) -> None:
    """There is nothing to send."""
    events = [event_of(steps, '{"n": 1}'), event_of(steps, '{"n": 2}')]
    webhook = steps.webhook()
    erase(steps, events[0])
    selection = ReplaySelection(webhook.id, START - timedelta(days=1))
    counted = replays.count(steps.conn, selection, now=START, kept=timedelta(days=30))
    assert (counted["events"], counted["erased"]) == (1, 1)
    with transaction(steps.conn):
        replays.start(steps.conn, selection, counted, actor="operator", now=START + timedelta(minutes=1))
    with transaction(steps.conn):
        resend_steps.step(steps.conn, START + timedelta(minutes=1), kept=timedelta(days=30))
    assert [one["event_id"] for one in rows_of(steps)] == [events[1]]
    with pytest.raises(Refused, match="cannot be sent: the body is gone"):
        later_deliveries.send_to(steps.conn, "p", events[0], webhook.id, START, actor="operator")


def test_a_reader_of_an_earlier_state_leaves_the_cleaning_to_a_later_call(steps: Steps) -> None:
    """It waits for nobody, and says whether it is done."""
    event = event_of(steps)
    with closing(sqlite3.connect(steps.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        erase(steps, event)
        assert not clean(steps)
        assert erasing.unclean_since(steps.conn)
        reader.execute("ROLLBACK")
        assert clean(steps)
    assert files_with(steps.path.parent, NEEDLE.encode()) == []


def test_old_bodies_are_erased_and_what_waits_is_spared(steps: Steps) -> None:
    """Counted from when the event was taken; the outbox's payloads too."""
    webhook = steps.webhook()
    done, waiting = event_of(steps), ""
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200, response_body=b"ok")
    waiting = event_of(steps, '{"who": "waits"}')
    for before, erased in ((START - timedelta(days=9), []), (clock.now() + timedelta(days=1), [done])):
        for walk, conn in (
            (erasing.OldBodies(before, START), steps.conn),
            (erasing_outbox.OldPayloads(before), steps.outbox),
        ):
            going = True
            while going:
                with transaction(conn):
                    going = walk.step(conn, 1)
        assert [event for event in (done, waiting) if log.event(steps.conn, event)["erased_at"]] == erased
    assert {one[0].rstrip() for one in steps.outbox.execute("SELECT payload FROM outbox")} == {ERASED_PAYLOAD}
    assert deliveries.first_due(steps.conn, [webhook.id])


def test_an_old_body_that_is_asked_for_meanwhile_is_spared(steps: Steps) -> None:
    """Between the step that chose it and the one that would erase it."""
    webhook = steps.webhook()
    event = event_of(steps)
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    walk = erasing.OldBodies(clock.now() + timedelta(days=1), START)
    with transaction(steps.conn):
        assert walk.step(steps.conn, 10)
    with transaction(steps.conn):
        deliveries.request_resend(steps.conn, steps.only()["delivery_id"], START, actor="operator")
    while True:
        with transaction(steps.conn):
            if not walk.step(steps.conn, 10):
                break
    assert log.event(steps.conn, event)["erased_at"] is None


def test_what_was_erased_after_the_wal_was_emptied_is_not_counted_as_clean(steps: Steps) -> None:
    """Though it is noted at the same time of a long erasing."""
    with transaction(steps.conn):
        erasing.note(steps.conn, "now")
    since = erasing.unclean_since(steps.conn)
    assert since is not None
    with transaction(steps.conn):
        erasing.note(steps.conn, "now")
        erasing.note_clean(steps.conn, since)
    assert erasing.unclean_since(steps.conn) is not None


def test_rejected_rows_are_found_by_their_text(steps: Steps) -> None:
    """They are in no event: by case and spelling as events are, of a project or all, since a time or ever."""
    for payload in (json.dumps({"who": NEEDLE}), '{"who": "somebody"}'):
        insert(steps, payload)
    steps.outbox.execute("UPDATE outbox SET rejected_reason = 'it was'")
    for project, since, count in (
        (None, None, 1),
        ("p", None, 1),
        ("other", None, 0),
        (None, clock.now() + timedelta(days=1), 0),
    ):
        ids, following = erasing_outbox.rejected_with_text(steps.outbox, "søren KIERKEGAARD", project, since, 0)
        assert (len(ids), following) == (count, None)
    ids, _ = erasing_outbox.rejected_with_text(steps.outbox, NEEDLE, None, None, 0)
    assert erasing_outbox.erase_rows(steps.outbox, ids) == 1
    assert erasing_outbox.rejected_with_text(steps.outbox, NEEDLE, None, None, 0) == ([], None)
