"""Events that a webhook filters out: the verdict is made at fan-out, and kept as long as its event is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Filter, Webhook
from almirant_webhooks.rules import filters, paths
from almirant_webhooks.storage.engine import FanOut, ReadPlan
from almirant_webhooks.storage.sql import deliveries, fanout, log, retention, webhooks

from ..support.steps import START, Steps, transaction

DAY = timedelta(days=1)


def conditions(*texts: str) -> Filter:
    checked = filters.check(texts)
    assert checked is not None
    return checked


def filtering_webhook(steps: Steps, *texts: str, **fields: Any) -> Webhook:
    """A webhook with a filter, of a URL that tells it from others."""
    return steps.webhook(options={"filter": conditions(*texts)}, **fields)


def insert(steps: Steps, event_id: str, payload: str = "{}", project: str = "p") -> None:
    steps.outbox.execute(
        "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (?, 'lead.created', ?, ?)",
        (project, payload, event_id),
    )


def take(steps: Steps, now: Any = START, **how: Any) -> FanOut:
    """Fan out all rows; none of them is marked."""
    with transaction(steps.conn):
        return fanout.fan_out(steps.conn, steps.unread(ReadPlan(100)), timedelta(0), now, **how)


def outcomes(steps: Steps, event_id: str) -> dict[str | None, tuple[str, str | None]]:
    rows = steps.conn.execute(
        "SELECT webhook_id, outcome, condition FROM event_outcomes WHERE event_id = ?", (event_id,)
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def update(steps: Steps, webhook: Webhook, *texts: str) -> Webhook:
    with transaction(steps.conn):
        value = conditions(*texts) if texts else None
        return webhooks.update(steps.conn, webhook.id, options={"filter": value}, now=START)


def test_what_does_not_match_makes_no_delivery_and_says_which_condition(steps: Steps) -> None:
    """Other webhooks of the project get it as before; `unmatched` is where no type matched."""
    filtered = filtering_webhook(steps, "type = lead.created", "data.n > 5")
    other = steps.webhook(url="https://example.com/other")
    insert(steps, "less", '{"n": 5}')
    insert(steps, "more", '{"n": 6}')
    insert(steps, "nobody", project="q")
    done = take(steps)
    assert (done.events, done.deliveries, done.filtered_out, done.unmatched) == (3, 3, 1, 1)
    assert outcomes(steps, "less") == {filtered.id: ("filtered out", "data.n > 5"), other.id: ("pending", None)}
    assert outcomes(steps, "more") == {filtered.id: ("pending", None), other.id: ("pending", None)}
    shown = log.event(steps.conn, "less")
    assert (shown["deliveries"], shown["filtered_out"], shown["unmatched"]) == (1, 1, 0)
    verdicts = {row["webhook_id"]: (row["verdict"], row["condition"]) for row in shown["outcomes"]}
    assert verdicts[filtered.id] == ("It was filtered out: data.n > 5 did not hold.", "data.n > 5")
    assert verdicts[other.id][1] is None


def test_an_event_that_every_webhook_filters_out_is_taken_and_not_unmatched(steps: Steps) -> None:
    """A disabled webhook filters too: nothing is held that it does not want."""
    webhook = filtering_webhook(steps, "data.n exists")
    with transaction(steps.conn):
        webhooks.disable(steps.conn, webhook.id, START)
    insert(steps, "e")
    done = take(steps)
    assert (done.events, done.deliveries, done.filtered_out, done.unmatched, done.due) == (1, 0, 1, 0, set())
    assert outcomes(steps, "e") == {webhook.id: ("filtered out", "data.n exists")}


def test_a_filter_that_is_changed_later_rewrites_no_verdict(steps: Steps) -> None:
    """Nor does the row that is read again after a crash; the next event goes by the new filter."""
    webhook = filtering_webhook(steps, "data.n = 1")
    insert(steps, "e", '{"n": 2}')
    take(steps)
    assert update(steps, webhook, "data.n = 2").filter == [{"field": "data.n", "op": "=", "value": 2}]
    again = take(steps)
    assert (again.duplicates, again.deliveries, again.filtered_out) == (1, 0, 0)
    assert outcomes(steps, "e") == {webhook.id: ("filtered out", "data.n = 1")}
    insert(steps, "f", '{"n": 2}')
    assert take(steps).deliveries == 1
    assert update(steps, webhook).filter is None
    insert(steps, "g")
    assert take(steps).deliveries == 1


def test_a_body_is_read_once_for_all_filters_and_only_where_there_is_one(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook without a filter costs nothing."""
    read: list[str] = []
    read_json = paths.read

    def count_bodies(text: str) -> paths.Value:
        if text.startswith('{"id"'):
            read.append(text)
        return read_json(text)

    monkeypatch.setattr(paths, "read", count_bodies)
    steps.webhook()
    insert(steps, "plain")
    take(steps)
    assert read == []
    for number in range(3):
        filtering_webhook(steps, f"data.n = {number}", url=f"https://example.com/{number}")
    filtering_webhook(steps, "data.n = 1", url="https://example.com/q", project_id="q")
    insert(steps, "e", '{"n": 1}')
    done = take(steps)
    assert (done.deliveries, done.filtered_out, len(read)) == (2, 2, 1)


def test_as_many_verdicts_as_deliveries_are_made_in_a_transaction(steps: Steps) -> None:
    """The other rows are left to the next one."""
    for number in range(3):
        filtering_webhook(steps, "data.n exists", url=f"https://example.com/{number}")
    for number in range(4):
        insert(steps, f"e{number}")
    done = take(steps, max_deliveries=5)
    assert (done.events, done.filtered_out) == (2, 6)


def test_events_of_operators_go_through_filters_too(steps: Steps) -> None:
    """Of the reserved project, which are made here."""
    wanting = filtering_webhook(steps, "data.webhook.projectId = p", project_id="almirant")
    with transaction(steps.conn):
        told: list[tuple[str, str, dict[str, object]]] = [
            ("almirant", "webhook.failing", {"webhook": {"projectId": project}}) for project in ("p", "q")
        ]
        fanout.insert_own_events(steps.conn, told, START)
    rows = steps.conn.execute("SELECT outcome, condition FROM event_outcomes ORDER BY outcome").fetchall()
    assert [tuple(row) for row in rows] == [("filtered out", "data.webhook.projectId = p"), ("pending", None)]
    assert deliveries.first_due(steps.conn, [wanting.id]).keys() == {wanting.id}


def test_verdicts_whose_event_was_deleted_by_hand_keep_no_later_event_out(steps: Steps) -> None:
    """Its place is given to no other event."""
    webhook = filtering_webhook(steps, "data.n = 1")
    insert(steps, "e")
    take(steps)
    steps.conn.execute("DELETE FROM events")
    insert(steps, "f")
    take(steps)
    assert outcomes(steps, "f")[webhook.id][0] == "filtered out"


@pytest.mark.parametrize(
    "stored",
    [
        "[7]",
        '[{"field": "data.n", "op": ">", "value": null}]',
        '[{"field": "data.n", "op": ">", "value": true}]',
        '[{"field": "type", "op": "starts with", "value": ["lead"]}]',
    ],
)
def test_a_stored_filter_that_nobody_can_read_stops_no_event_of_others(steps: Steps, stored: str) -> None:
    """Somebody has written into the table by hand; the verdict says what to do."""
    webhook, other = steps.webhook(), steps.webhook(url="https://example.com/other")
    steps.conn.execute("UPDATE webhooks SET filter = ? WHERE id = ?", (stored, webhook.id))
    insert(steps, "e")
    assert take(steps).due == {other.id}
    assert outcomes(steps, "e")[webhook.id] == ("filtered out", "its filter cannot be read: set it anew")


def sweep(steps: Steps, now: Any, limit: int) -> list[int]:
    """Prune in steps of `limit` rows; return how many rows each step has left of verdicts and events."""
    walk = retention.Sweep(succeeded=30 * DAY, failed=90 * DAY, now=now)
    left, more = [], True
    while more:
        with transaction(steps.conn):
            more = walk.step(steps.conn, limit)
        counts = "SELECT (SELECT count(*) FROM filtered_out) + (SELECT count(*) FROM events)"
        left.append(steps.conn.execute(counts).fetchone()[0])
    return left


def test_verdicts_are_kept_as_long_as_their_event_and_go_with_it_in_steps(steps: Steps) -> None:
    """An event without a delivery as long as `retention.succeeded`; one with a delivery as long as that."""
    for number in range(4):
        filtering_webhook(steps, "data.n exists", url=f"https://example.com/{number}")
    insert(steps, "e")
    take(steps)
    assert sweep(steps, START + 29 * DAY, 3)[-1] == 5
    left = sweep(steps, START + 31 * DAY, 3)
    assert left[-1] == 0
    assert max(before - after for before, after in zip([5, *left], left, strict=False)) <= 3
    steps.webhook(url="https://example.com/all")
    insert(steps, "f")
    take(steps)
    sweep(steps, START + 31 * DAY, 3)
    rows = steps.conn.execute("SELECT count(*) FROM filtered_out f JOIN events e ON e.seq = f.event_seq")
    assert rows.fetchone()[0] == 8, "the events have a delivery that is pending"


def test_the_verdicts_of_a_deleted_webhook_are_gone_at_once_and_erased_in_steps(steps: Steps) -> None:
    """Before the webhook's own row; its filter is overwritten."""
    webhook = filtering_webhook(steps, "data.n exists")
    for number in range(5):
        insert(steps, f"e{number}")
    take(steps)
    with transaction(steps.conn):
        webhooks.delete(steps.conn, webhook.id, START)
    assert outcomes(steps, "e1") == {None: ("unmatched", None)}
    assert log.event(steps.conn, "e1")["filtered_out"] == 0
    assert steps.conn.execute("SELECT filter FROM webhooks").fetchone()[0] is None
    erased = []
    while True:
        with transaction(steps.conn):
            erased.append(deliveries.erase_deleted(steps.conn, 2))
        if not erased[-1]:
            break
    assert erased == [2, 2, 1, 0]
    assert steps.conn.execute("SELECT count(*) FROM filtered_out").fetchone()[0] == 0


def test_a_test_goes_past_the_filter(steps: Steps) -> None:
    """It is a sample, asked for by hand."""
    webhook = filtering_webhook(steps, "data.n exists")
    with transaction(steps.conn):
        webhooks.request_test(steps.conn, webhook.id, "lead.created", "{}", START)
    (claim,) = steps.claim(webhook, START)
    assert claim.test
    assert clock.text(START) in claim.body.decode()
