"""`ReadingStore`: what commands, API and pages may count on."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Health, NotFound, Outcome, Refused, Result
from almirant_webhooks.rules.activity import SPANS
from almirant_webhooks.rules.selection import AuditSelection, EventSelection, Selection
from almirant_webhooks.storage.records import Progress

from .engines import START, Engine, text

HOUR = timedelta(hours=1)
ALL = Selection()


def _taken(engine: Engine, *projects: str) -> list[str]:
    """Take an event of each project, one after the other; the ids of all deliveries, newest first."""
    for project in projects:
        engine.insert(project)
        engine.take()
    return [row["delivery_id"] for row in engine.reading.search.newest(engine.session, ALL, limit=100)]


def test_what_is_read_is_of_one_state_until_it_is_ended(engine: Engine) -> None:
    """What others commit meanwhile is seen then; a state that was begun before is ended by the next."""
    reading, session = engine.reading, engine.session
    engine.webhook()
    for _ in range(2):
        reading.begin(session)
        before = reading.webhooks.find(session, project_id=None)
        engine.webhook()
        assert reading.webhooks.find(session, project_id=None) == before
    reading.end(session)
    assert len(reading.webhooks.find(session, project_id=None)) == 3
    reading.end(session)


def test_a_cause_is_that_of_any_attempt(engine: Engine) -> None:
    """Of what failed first and went well then too; what went well at once has none."""
    webhook = engine.webhook()
    ids = _taken(engine, "p", "p")
    at_once, later = engine.claim(webhook)
    failed = Result(later, Outcome.TIMEOUT, START, 5, cause="no answer within 10 s")
    engine.batch(results=[Result(at_once, Outcome.SUCCESS, START, 5, 200), failed])
    by_cause, wanted = Selection(cause="NO ANSWER"), [later.delivery_id]
    for _ in range(2):
        assert [row["delivery_id"] for row in engine.reading.search.newest(engine.session, by_cause, limit=9)] == wanted
        assert engine.actions.resends.count(engine.session, by_cause) == {webhook.id: 1}
        engine.record(engine.claim(webhook, START + HOUR), Outcome.SUCCESS, START + HOUR)
    assert {row["state"] for row in engine.reading.search.newest(engine.session, ALL, limit=9)} == {"succeeded"}
    assert {*ids} == {at_once.delivery_id, later.delivery_id}


def test_what_waits_for_a_rate_limit_is_counted(engine: Engine) -> None:
    """What is due and what is to be resent, of an enabled webhook without a place; a limit for the count is kept."""
    webhook = engine.webhook(options={"rate_limit": "2/m"})
    engine.webhook(url="https://example.com/other")
    for _ in range(4):
        engine.insert()
    engine.take()
    read, second = engine.reading.rates, timedelta(seconds=1)

    def waiting(ids: list[str] | None, most: int = 1000, now: datetime = START) -> dict[str, int]:
        return read.waiting(engine.session, ids, now, most)

    assert waiting([webhook.id]) == {}, "places are left"
    claims = engine.batch(starts={webhook.id: 2}, places=lambda webhook, limit: 2).begun
    engine.record(claims, Outcome.SUCCESS)
    assert waiting([webhook.id]) == waiting(None) == {webhook.id: 2}
    assert waiting([]) == {}
    engine.resend(claims[0].delivery_id)
    engine.test(webhook)
    assert waiting(None) == {webhook.id: 3}, "a test waits for nothing"
    assert waiting(None, most=1) == {webhook.id: 1}
    assert waiting(None, now=START + 62 * second) == {}
    engine.disable(webhook)
    assert waiting(None) == {}


def test_pages_of_deliveries_follow_each_other(engine: Engine) -> None:
    """Newest first, each once, to a page without a cursor; what comes meanwhile moves nothing."""
    engine.webhook()
    ids = _taken(engine, *["p"] * 5)
    read: list[str] = []
    cursor: str | None = None
    while cursor is not None or not read:
        page = engine.reading.search.deliveries(engine.session, ALL, limit=2, cursor=cursor)
        read += [row["delivery_id"] for row in page.items]
        cursor = page.next_cursor
        engine.insert()
        engine.take(START + HOUR)
    assert read == ids
    assert len(ids) == 5


def test_a_selection_selects_the_same_for_a_page_a_command_and_a_count(engine: Engine) -> None:
    """By project and by state."""
    webhook = engine.webhook()
    engine.webhook(project_id="q")
    _taken(engine, "p", "q", "p")
    engine.record(engine.claim(webhook, count=1), Outcome.SUCCESS)
    search, session = engine.reading.search, engine.session
    for selection, number in ((Selection(project_id="p"), 2), (Selection(state="succeeded"), 1), (ALL, 3)):
        page = search.deliveries(session, selection, limit=10, cursor=None)
        assert page.items == search.newest(session, selection, limit=10)
        assert (len(page.items), search.count(session, selection)) == (number, (number, True))


def test_a_text_is_found_as_its_producer_meant_it(engine: Engine) -> None:
    """However its encoder escaped it, and in any case."""
    engine.webhook()
    for payload in ('{"name": "S\\u00f8ren"}', '{"name": "Sven"}'):
        engine.insert(payload=payload)
    engine.take()
    for asked in ("Søren", "SØREN", "s\\u00f8ren"):
        (row,) = engine.reading.search.newest(engine.session, Selection(text=asked), limit=10)
        assert "u00f8" in str(engine.reading.log.delivery(engine.session, row["delivery_id"])["body"])


def test_a_delivery_is_shown_with_its_body_and_every_attempt(engine: Engine) -> None:
    """One in flight has no outcome yet; one that is not there is not found."""
    webhook = engine.webhook()
    (delivery_id,) = _taken(engine, "p")
    engine.record(engine.claim(webhook), Outcome.HTTP_ERROR)
    engine.claim(webhook, START + HOUR)
    delivery = engine.reading.log.delivery(engine.session, delivery_id)
    assert (delivery["webhook_id"], delivery["state"]) == (webhook.id, "pending")
    assert (delivery["created_at"], delivery["test"]) == (text(START), False)
    (listed,) = engine.reading.search.newest(engine.session, ALL, limit=10)
    assert (listed["created_at"], listed["test"]) == (text(START), False)
    assert '"lead.created"' in str(delivery["body"])
    assert [(attempt["number"], attempt["outcome"]) for attempt in delivery["attempt_list"]] == [
        (1, Outcome.HTTP_ERROR),
        (2, None),
    ]
    assert dict(delivery["attempt_list"][1]["request_headers"])["webhook-id"]
    with pytest.raises(NotFound):
        engine.reading.log.delivery(engine.session, "dlv_none")


def test_pages_of_events_follow_each_other(engine: Engine) -> None:
    """Newest first, with the number of deliveries; a command has the same without pages."""
    engine.webhook()
    _taken(engine, "p", "q", "p")
    log, session = engine.reading.log, engine.session
    first = log.events(session, EventSelection(), limit=2, cursor=None)
    assert first.next_cursor is not None
    last = log.events(session, EventSelection(), limit=2, cursor=int(first.next_cursor))
    events = [*first.items, *last.items]
    assert [(event["project_id"], event["deliveries"]) for event in events] == [("p", 1), ("q", 0), ("p", 1)]
    assert last.next_cursor is None
    assert log.newest_events(session, EventSelection(), limit=10) == events
    assert [event["unmatched"] for event in log.newest_events(session, EventSelection(project_id="q"), limit=10)] == [True]  # fmt: skip


def test_an_event_is_shown_with_what_became_of_it_webhook_by_webhook(engine: Engine) -> None:
    """A page at a time in the order of their ids; of another project it is not found."""
    ids = sorted(engine.webhook().id for _ in range(3))
    _taken(engine, "p")
    log, session = engine.reading.log, engine.session
    (event,) = log.newest_events(session, EventSelection(), limit=10)
    whole = log.event(session, event["event_id"], None)
    assert [outcome["webhook_id"] for outcome in whole["outcomes"]] == ids
    assert {outcome["outcome"] for outcome in whole["outcomes"]} == {"pending"}
    assert all(outcome["verdict"] for outcome in whole["outcomes"])
    first = log.event(session, event["event_id"], "p", limit=2)
    assert first["next_cursor"] == ids[1]
    last = log.event(session, event["event_id"], "p", after=ids[1], limit=2)
    assert ([outcome["webhook_id"] for outcome in last["outcomes"]], last["next_cursor"]) == ([ids[2]], None)
    with pytest.raises(NotFound):
        log.event(session, event["event_id"], "q")


def test_an_event_of_a_project_without_webhooks_says_that_nobody_was_there(engine: Engine) -> None:
    """In its one outcome, which has no webhook."""
    _taken(engine, "p")
    (event,) = engine.reading.log.newest_events(engine.session, EventSelection(), limit=10)
    (outcome,) = engine.reading.log.event(engine.session, event["event_id"], None)["outcomes"]
    assert (outcome["webhook_id"], outcome["outcome"]) == (None, "unmatched")


def test_webhooks_are_listed_with_how_they_stand(engine: Engine) -> None:
    """By name where all are well, a deleted one not; the hours have what was attempted."""
    older, newer = engine.webhook(), engine.webhook(START + HOUR, description="newer")
    gone = engine.webhook(project_id="r")
    engine.delete(gone)
    reading, session = engine.reading, engine.session
    _taken(engine, "p")
    engine.record(engine.claim(older), Outcome.SUCCESS)
    rows, counts, more = reading.summaries.page(session, "p", START - HOUR, limit=1, offset=0)
    assert ([row["webhook"].id for row in rows], more) == ([older.id], True)
    assert counts == {health: 2 if health is Health.WELL else 0 for health in Health}
    assert [(hour.succeeded, hour.failed) for hour in rows[0]["hours"]] == [(1, 0)]
    assert (rows[0]["last_success"], rows[0]["last_failure"], rows[0]["held"]) == (text(START), None, 0)
    overview = reading.summaries.webhook(session, newer.id, START)
    assert overview["webhook"] == reading.webhooks.get(session, newer.id)
    assert (overview["webhook"].description, overview["rotation"]) == ("newer", None)
    for span in SPANS.values():
        counted = reading.activity.counted(session, [older.id, newer.id], span, START)
        assert [(part["succeeded"], part["failed"]) for part in counted["parts"]] == [(1, 0)]
    assert counted["complete"]
    assert reading.summaries.projects(session, 10) == ["p"]
    assert reading.summaries.names(session, [older.id, newer.id, gone.id]) == {older.id: "", newer.id: "newer"}
    assert reading.webhooks.delivery_count(session, older.id) == (1, True)
    (standing,) = reading.webhooks.health(session, older.id)
    assert (standing["succeeded"], standing["pending"]) == (1, 0)
    with pytest.raises(NotFound):
        reading.webhooks.get(session, gone.id)


def test_webhooks_are_listed_in_the_order_of_trouble_and_found_by_name_and_url(engine: Engine) -> None:
    """What failed last stands before what is off, and that before what is well; case is ignored, in every alphabet."""
    well = engine.webhook(url="https://a.example.com/well", description="Ärger")
    off = engine.webhook(url="https://b.example.com/off")
    failed = engine.webhook(url="https://c.example.com/failed")
    _taken(engine, "p")
    engine.record(engine.claim(failed), Outcome.HTTP_ERROR)
    engine.record(engine.claim(well), Outcome.SUCCESS)
    engine.disable(off)

    def page(
        text: str = "", health: Health | None = None, limit: int = 10
    ) -> tuple[list[str], dict[Health, int], bool]:
        found = engine.reading.summaries.page(
            engine.session, "p", START - HOUR, limit=limit, offset=0, text=text, health=health
        )
        return [row["webhook"].id for row in found.rows], found.counts, found.more

    ids, counts, more = page()
    assert (ids, more) == ([failed.id, off.id, well.id], False)
    assert {health: number for health, number in counts.items() if number} == dict.fromkeys(
        (Health.FAILED, Health.OFF, Health.WELL), 1
    )
    assert page("B.EXAMPLE")[0] == [off.id]
    assert page("äRGER")[0] == [well.id]
    assert page("100%")[0] == page("_")[0] == []
    assert page(health=Health.OFF)[:2] == ([off.id], counts)
    assert page(limit=2)[::2] == ([failed.id, off.id], True)


def test_what_is_wrong_with_a_webhook_is_told_with_its_last_failure(engine: Engine) -> None:
    """How the last attempt failed, since when, and how many wait; a webhook that is well has had none."""
    webhook = engine.webhook()
    trouble = engine.reading.summaries.trouble
    assert trouble(engine.session, webhook.id) == {
        "health": Health.WELL,
        "since": None,
        "made_since": None,
        "failures_in_a_row": 0,
        "last_failure": None,
        "waiting": 0,
        "waiting_more": False,
        "given_up": 0,
        "given_up_more": False,
    }
    (delivery_id,) = _taken(engine, "p")
    for hours in range(3):
        told = trouble(engine.session, webhook.id)
        assert (told["waiting"], told["given_up"], told["failures_in_a_row"]) == (1, 0, hours)
        engine.record(engine.claim(webhook, START + hours * HOUR), Outcome.HTTP_ERROR)
    told = trouble(engine.session, webhook.id)
    assert (told["health"], told["since"], told["failures_in_a_row"]) == (Health.FAILED, text(START), 3)
    assert (told["waiting"], told["given_up"]) == (0, 1), "its attempts are used up"
    assert told["last_failure"] is not None
    assert (told["last_failure"]["delivery_id"], told["last_failure"]["outcome"]) == (delivery_id, Outcome.HTTP_ERROR)
    with pytest.raises(NotFound):
        trouble(engine.session, "wh_none")


def test_the_audit_trail_goes_on_behind_an_entry(engine: Engine) -> None:
    """Newest first, selected by project and action."""
    for project in ("p", "q", "p"):
        engine.webhook(project_id=project)
    entries = engine.reading.audit.entries
    first, *rest = entries(engine.session, AuditSelection(), limit=10)
    assert [entry["project_id"] for entry in (first, *rest)] == ["p", "q", "p"]
    assert entries(engine.session, AuditSelection(), before=first["seq"], limit=10) == rest
    assert len(entries(engine.session, AuditSelection(project_id="q"), limit=10)) == 1
    assert entries(engine.session, AuditSelection(action="webhook.deleted"), limit=10) == []


def test_a_resend_says_how_many_of_its_deliveries_failed(engine: Engine) -> None:
    """What it has sent again and is not succeeded; so one whose attempts all failed looks like none."""
    webhook = engine.webhook()
    _taken(engine, "p")
    for hours in range(3):
        engine.record(engine.claim(webhook, START + hours * HOUR), Outcome.HTTP_ERROR)
    with engine.deliveries.transaction(engine.session):
        started = engine.actions.resends.start(
            engine.session, Selection(state="failed"), {webhook.id: 1}, actor="a", now=START + 4 * HOUR
        )
    row = engine.reading.resends.get(engine.session, started)
    assert (row["matched"], row["succeeded"], row["failed"]) == (1, 0, 0)


def test_resends_are_listed_newest_first(engine: Engine) -> None:
    """And go on behind one; one that is not there is not found."""
    webhook = engine.webhook()
    _taken(engine, "p")
    ids = []
    for hours, selection in enumerate((Selection(project_id="p"), Selection(event_type="lead.created"))):
        with engine.deliveries.transaction(engine.session):
            counts, at = {webhook.id: 1}, START + hours * HOUR
            ids.append(engine.actions.resends.start(engine.session, selection, counts, actor="a", now=at))
    resends, session = engine.reading.resends, engine.session
    newest, oldest = resends.find(session, limit=10)
    assert [newest["id"], oldest["id"]] == ids[::-1]
    assert resends.find(session, before=newest["id"], limit=10) == [oldest] == [resends.get(session, ids[0])]
    assert oldest["state"] == Progress.RUNNING
    with pytest.raises(NotFound):
        resends.get(session, "rsd_none")


def test_rejected_rows_are_read_from_the_outbox(engine: Engine) -> None:
    """Newest first with their reasons, of one project or of all; what waits is told by its event's id."""
    for _ in range(3):
        engine.insert_broken()
    engine.take()
    reading, session = engine.reading, engine.outbox_session
    first, following = reading.rejected.newest(session, 2, "p")
    assert ([row["id"] for row in first], following) == ([3, 2], 2)
    assert all(row["rejected_reason"] for row in first)
    last, following = reading.rejected.newest(session, 2, "p", before=following)
    assert ([row["id"] for row in last], following) == ([1], None)
    assert reading.rejected.newest(session, 2, "q") == ([], None)
    row = reading.outbox.waiting(session, first[0]["event_id"])
    assert row == {"id": 3, "rejected_reason": first[0]["rejected_reason"], "fanned_out_at": None}
    assert reading.outbox.waiting(session, "evt_none") is None


def test_numbers_say_how_the_service_stands(engine: Engine) -> None:
    """What waits, the attempts of an hour, and what is old enough to go."""
    webhook = engine.webhook()
    _taken(engine, "p", "p")
    engine.record(engine.claim(webhook, count=1), Outcome.SUCCESS)
    stats, session = engine.reading.stats, engine.session
    assert stats.pending(session, START)["due"] == 1
    assert stats.webhooks(session) == {"enabled": 1, "disabled": 0, "failing": 0}
    assert stats.hours(session, START) == {"succeeded": 1, "failed": 0, "mean_ms": 5, "longest_ms": 5}
    assert stats.outbox(engine.outbox_session, START)["unread"] == 0
    assert engine.reading.health.failing(session) == {}
    assert engine.reading.outbox.count_old(engine.outbox_session, text(START + HOUR), text(START)) == 2
    *_, counted = engine.reading.retention.count(
        session, succeeded=HOUR, failed=HOUR, bodies=HOUR, now=START + 24 * HOUR
    )
    assert (counted["deliveries"], counted["bodies"]) == (1, 1)


def test_an_id_of_an_event_that_several_projects_have_is_refused(engine: Engine) -> None:
    """Without the project; with it, the event is that project's."""
    for project in ("p", "q"):
        engine.actions.events.insert(
            engine.outbox_session, project_id=project, event_type="lead.created", payload="{}", event_id="evt_1", wait=1.0
        )  # fmt: skip
    engine.take()
    with pytest.raises(Refused, match="several projects"):
        engine.reading.log.event(engine.session, "evt_1", None)
    assert engine.reading.log.event(engine.session, "evt_1", "q")["project_id"] == "q"


def test_rejected_rows_are_found_by_their_text_since_a_time(engine: Engine) -> None:
    """Or since ever, in one project or all."""
    engine.insert_broken()
    engine.take()
    find, session = engine.actions.erasing_outbox.rejected_with_text, engine.outbox_session
    now = clock.now()
    for project, since, count in (
        (None, None, 1),
        ("p", now - timedelta(days=1), 1),
        ("q", now - timedelta(days=1), 0),
        (None, now + timedelta(days=1), 0),
    ):
        ids, following = find(session, "no object", project, since, 0)
        assert (len(ids), following) == (count, None)
