"""Pages of the log: whatever is asked for, going on from cursor to cursor gives each matching row once, newest first."""

from __future__ import annotations

import asyncio
import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from almirant_webhooks import clock
from almirant_webhooks.model import Webhook
from almirant_webhooks.rules import searching
from almirant_webhooks.rules.selection import EventSelection, Selection
from almirant_webhooks.storage.records import Delivery, Event
from almirant_webhooks.storage.sql import log, resends, search, text
from almirant_webhooks.storage.sql.selecting import id_at
from almirant_webhooks.storage.sql.session import Session

from ..support.engines import service_on
from ..support.service import Service
from ..support.steps import new_numbers, transaction
from ..web.test_pages import Pages

START = clock.parse("2026-11-01T00:00:00Z")
STATES = ("pending", "succeeded", "failed", "cancelled")
COUNT = 600


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> Iterator[Session]:
    """A log of every state and status, over projects with several webhooks, one of them disabled and one deleted."""
    with service_on(engine_name, tmp_path_factory.mktemp("search")) as service:
        service.migrate()
        with closing(service.session()) as conn:
            webhooks = [
                service.webhook(f"http://127.0.0.1:{9 + number}/", project=f"proj_{number % 3}") for number in range(7)
            ]
            with transaction(conn):
                _fill(conn, webhooks)
            yield conn


def _fill(conn: Session, made: list[Webhook]) -> None:
    chance = random.Random(7)
    for number, seq in enumerate(new_numbers(conn, COUNT)):
        moment = clock.text(START + timedelta(minutes=number))
        webhook = made[chance.randrange(len(made))]
        kind = chance.choice(("work_item.created", "lead.created", "lead.updated"))
        conn.execute(
            "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, f"evt_{number}", webhook.project_id, kind, moment, moment, f'{{"n": "é {number}"}}'),
        )
        state = chance.choice(STATES)
        status = chance.choice(("200", "500", "404", "timeout", "connection error", None))
        delivery = f"{id_at(clock.parse(moment))}{number:016x}"
        conn.execute(
            "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, in_flight, begun, last_number, last_status, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
            (
                delivery,
                seq,
                f"evt_{number}",
                webhook.id,
                state,
                int(state == "pending" and chance.random() < 0.2),
                1 if status else None,
                status,
                moment,
            ),
        )
        if status:
            outcome = "success" if status == "200" else "http_error" if status.isdigit() else status.replace(" ", "_")
            conn.execute(
                "INSERT INTO attempts (delivery_id, number, trigger, started_at, outcome, status_code, cause, url, request_headers) "
                "VALUES (?, 1, 'scheduled', ?, ?, ?, ?, 'http://x/', '[]')",
                (delivery, moment, outcome, int(status) if status.isdigit() else None, "refused here"),
            )
    now = clock.text(START)
    conn.execute("UPDATE webhooks SET enabled = 0, disabled_at = ? WHERE id = ?", (now, made[1].id))
    conn.execute("UPDATE webhooks SET deleted_at = ?, secret = '' WHERE id = ?", (now, made[2].id))


def ids_of_webhooks(conn: Session) -> list[str]:
    return [row[0] for row in conn.execute("SELECT id FROM webhooks ORDER BY url")]


def walk(conn: Session, selection: Selection, limit: int) -> list[Delivery]:
    """All pages one after the other."""
    rows: list[Delivery] = []
    cursor = None
    for _ in range(COUNT * 3):
        page = search.deliveries(conn, selection, limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        rows += page.items
        cursor = page.next_cursor
        if cursor is None:
            return rows
    raise AssertionError("the pages do not end")


LOG = """
SELECT l.*, w.enabled, (SELECT max(cause) FROM attempts a WHERE a.delivery_id = l.delivery_id) AS causes
FROM delivery_log l JOIN webhooks w ON w.id = l.webhook_id ORDER BY l.delivery_id DESC
"""


def matches(row: Any, selection: Selection) -> bool:
    """What a selection means, of a row of the view."""
    equal = ("project_id", "webhook_id", "event_type", "event_id")
    if any(getattr(selection, name) not in (None, row[name]) for name in equal):
        return False
    if selection.state is not None and selection.state not in (row["state"], "held" if row["held"] else ""):
        return False
    if selection.status is not None and row["status"] != selection.status:
        if not selection.status.endswith("xx") or row["status"] is None or not row["status"].isdigit():
            return False
        if row["status"][0] != selection.status[0]:
            return False
    if selection.cause is not None and selection.cause.lower() not in (row["causes"] or ""):
        return False
    begin = id_at(selection.since) if selection.since else ""
    return begin <= str(row["delivery_id"]) < (id_at(selection.until) if selection.until else "dlv_~")


@pytest.mark.long
@given(
    asked=st.fixed_dictionaries(
        {},
        optional={
            "project_id": st.sampled_from(["proj_0", "proj_1", "proj_9"]),
            "webhook": st.integers(0, 6),
            "state": st.sampled_from([*STATES, "held"]),
            "status": st.sampled_from(["200", "500", "4xx", "2xx", "timeout", "connection error"]),
            "event_type": st.sampled_from(["lead.created", "lead.updated"]),
            "event_id": st.integers(0, COUNT).map(lambda number: f"evt_{number}"),
            "cause": st.just("REFUSED"),
            "since": st.integers(0, COUNT).map(lambda number: START + timedelta(minutes=number)),
            "until": st.integers(0, COUNT).map(lambda number: START + timedelta(minutes=number)),
        },
    ),
    limit=st.integers(1, 80),
    looked_at=st.sampled_from([30, 100_000]),
)
@settings(max_examples=150, deadline=None)
def test_pages_together_are_what_the_view_has(
    filled: Session, asked: dict[str, Any], limit: int, looked_at: int
) -> None:
    """With every field and together, whether a page stops early or not; so do a command's list and a resend's count."""
    webhook = asked.pop("webhook", None)
    if webhook is not None:
        asked["webhook_id"] = ids_of_webhooks(filled)[webhook]
    selection = Selection(**asked)
    expected = [row for row in filled.execute(LOG) if matches(row, selection)]
    resendable = [row for row in expected if row["enabled"] and row["state"] != "pending"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search, "LOOKED_AT", looked_at)
        patched.setattr(search, "WINDOW", max(1, looked_at // 3))
        found = walk(filled, selection, limit)
        total, whole = search.count(filled, selection)
    assert [row["delivery_id"] for row in found] == [row["delivery_id"] for row in expected]
    assert total <= len(expected)
    assert total == len(expected) or not whole
    assert search.newest(filled, selection, limit=limit) == [*found[:limit]]
    assert sum(resends.count(filled, selection).values()) == len(resendable)
    assert Selection.load(selection.dump()) == selection


def test_a_text_is_looked_for_in_the_payload_as_its_producer_meant_it(filled: Session) -> None:
    """A quote or a letter beyond ASCII is found where it stands."""
    rows = walk(filled, Selection(text="é 59"), 50)
    numbers = {row["event_id"] for row in rows}
    assert numbers <= {"evt_59", *(f"evt_{number}" for number in range(590, 600))}
    assert numbers
    assert walk(filled, Selection(text='"'), 5) == []


def _spelled(value: str, how: str, chance: random.Random) -> str:
    """A string of JSON as one encoder or another writes it."""
    if how == "every letter escaped":
        units = value.encode("utf-16-be", "surrogatepass").hex()
        return '"' + "".join(f"\\u{units[at : at + 4].upper()}" for at in range(0, len(units), 4)) + '"'
    if how == "some escaped":
        return '"' + "".join(chance.choice((json.dumps(one), _spelled(one, "every letter escaped", chance)))[1:-1] for one in value) + '"'  # fmt: skip
    return json.dumps(value, ensure_ascii=how == "ASCII")


@given(
    value=st.text(max_size=40),
    part=st.tuples(st.integers(0, 40), st.integers(1, 40)),
    how=st.sampled_from(["ASCII", "UTF-8", "some escaped", "every letter escaped"]),
    case=st.sampled_from([str, str.upper, str.lower, str.casefold]),
    form=st.sampled_from(("NFC", "NFD")),
    seed=st.integers(0, 5),
)
@example(value="\\", part=(0, 1), how="ASCII", case=str, form="NFC", seed=0)
@settings(max_examples=300, deadline=None)
def test_a_text_is_found_however_it_is_spelled(
    value: str, part: tuple[int, int], how: str, case: Callable[[str], str], form: Literal["NFC", "NFD"], seed: int
) -> None:
    """By any encoder of JSON, in any case, composed or not; and no text is found that goes beyond a string."""
    value = value.replace("\0", "")
    body = f'{{"a": {_spelled(value, how, random.Random(seed))}, "n": 1.50}}'

    def has(asked: str) -> bool:
        return searching.has_text(body.encode(), searching.folded(asked))

    asked = value[part[0] : part[0] + part[1]]
    whole = searching.folded(value)
    if searching.folded(asked) in whole:
        assert has(asked)
    if searching.folded(case(asked)) in whole:
        assert has(case(asked))
    if searching.folded(unicodedata.normalize(form, asked)) in whole:
        assert has(unicodedata.normalize(form, asked))
    assert has("1.50")
    assert not has(f'{value}"')
    assert not has(f'"{value}')
    assert has(f"nowhere{value}") is (f"nowhere{searching.folded(value)}" in whole)


def test_a_text_is_looked_for_in_a_bounded_number_of_bytes(filled: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of large bodies ends sooner; going on from cursor to cursor gives each match once all the same."""
    everything = [row["delivery_id"] for row in walk(filled, Selection(text="é 1"), 50)]
    whole, complete = search.count(filled, Selection(text="é 1"))
    assert (whole, complete) == (len(everything), True)
    monkeypatch.setattr(text, "LOOKED_BYTES", 2_000)
    seen: list[int] = []

    def has_text(body: bytes, asked: str) -> bool:
        seen.append(len(body))
        return searching.has_text(body, asked)

    monkeypatch.setattr(text, "has_text", has_text)
    first = search.deliveries(filled, Selection(text="nowhere"), limit=50)
    assert (first.items, sum(seen) < 4_000) == ([], True)
    assert first.next_cursor is not None
    assert first.looked_back_to is not None
    assert [row["delivery_id"] for row in walk(filled, Selection(text="é 1"), 50)] == everything
    counted, complete = search.count(filled, Selection(text="é 1"))
    assert (counted < whole, complete) == (True, False)


async def test_the_same_text_is_found_by_command_api_and_page(service: Service) -> None:
    """A name as Python's json.dumps escapes it; case does not count."""
    address = await service.serve()
    service.webhook("http://127.0.0.1:9/")
    found, other = service.insert({"name": "Søren"}, {"name": "Sven"})
    await service.until(lambda: len(service.log()) == 2)
    shell = service.shell()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        pages = Pages(service, client)
        for asked in ("Søren", "SØREN", "s\\u00f8ren", "øren"):
            said = await asyncio.to_thread(shell.ours, "event", "list", "--text", asked)
            assert (found in said, other in said) == (True, False), asked
            async with client.get("/api/v1/deliveries", params={"q": asked}, headers=pages.cookie("proj_1")) as answer:
                assert [one["event_id"] for one in (await answer.json())["items"]] == [found], asked
            shown = await pages.get(f"/deliveries?text={quote(asked)}")
            assert (shown.count("/deliveries/dlv_") > 0, "No deliveries match" in shown) == (True, False), asked


def test_a_page_keeps_its_place_while_rows_arrive(filled: Session) -> None:
    """A cursor is an id, not a count."""
    first = search.deliveries(filled, Selection(), limit=10)
    later = f"{id_at(START + timedelta(days=9))}{0:016x}"
    filled.execute(
        "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at) SELECT ?, event_seq, event_id, webhook_id, created_at "
        "FROM deliveries WHERE id = ?",
        (later, first.items[0]["delivery_id"]),
    )
    second = search.deliveries(filled, Selection(), limit=10, cursor=first.next_cursor)
    filled.execute("DELETE FROM deliveries WHERE id = ?", (later,))
    assert [row["delivery_id"] for row in first.items + second.items] == [
        row["delivery_id"] for row in search.newest(filled, limit=20)
    ]


def test_events_are_paged_the_same_way(filled: Session) -> None:
    """And filtered by project and type."""
    everything = log.newest_events(filled, limit=COUNT + 1)
    for selection in (EventSelection(), EventSelection(project_id="proj_1"), EventSelection(event_type="lead.created")):
        rows: list[Event] = []
        cursor = None
        while True:
            page = log.events(filled, selection, limit=7, cursor=cursor)
            rows += page.items
            if page.next_cursor is None:
                break
            cursor = int(page.next_cursor)
        assert rows == [
            row
            for row in everything
            if selection.project_id in (None, row["project_id"]) and selection.event_type in (None, row["event_type"])
        ]
