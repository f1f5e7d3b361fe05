"""What selects deliveries, events and entries of the audit trail is refused by command, API and pages alike.

There is one table, and every face is asked for each line of it.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import Iterator
from urllib.parse import quote

import jsonschema_rs
import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.rules.selection import STATES, EventSelection, Selection
from almirant_webhooks.storage.sql import resends

from ..conftest import Receiver
from .test_refusals import Doors

NOW = clock.parse("2026-11-24T09:00:00Z")
LONG = "is longer than 1,000 characters; a part of it is enough."
NO_TEXT = "holds a NUL or half of a surrogate pair, which is not text."
NO_TIME = "is not a time; write it as 2026-01-31 or 2026-01-31T09:30:00Z, or as how long ago: 2h."
PROJECT = "must be 1 to 128 printable ASCII characters without spaces."
WEBHOOK = "must be the id of a webhook, wh_…, as the list of webhooks has it."
EVENT = "must be the id of an event: 1 to 128 letters, digits, '_', '-' or ':'."
TYPE = (
    "must be an event type, dotted lower-case words such as work_item.created, or a family such as work_item.*, at most 128 "
    "characters."
)
STATE = f"must be one of {', '.join(STATES)}."
STATUS = "must be a code (500), a class (5xx) or one of timeout, connection error, blocked, interrupted."
TIMES = {
    "soon": f": 'soon' {NO_TIME}",
    "2026-02-30": f": '2026-02-30' {NO_TIME}",
    "2 hours": f": '2 hours' {NO_TIME}",
    "999999999d": ": '999999999d' is too long ago.",
    "0001-01-01T00:00+14:00": ": '0001-01-01T00:00+14:00' is out of range, or as how long ago: 2h.",
}

# For each field, values that it cannot have, and the sentence behind the field's name.
BAD: dict[str, dict[str, str]] = {
    "project_id": {"a b": f" {PROJECT}", "é": f" {PROJECT}", "p" * 129: f" {PROJECT}"},
    "webhook_id": {"shop": f" {WEBHOOK}", "dlv_1": f" {WEBHOOK}", "wh_": f" {WEBHOOK}", "wh_%": f" {WEBHOOK}"},
    "state": {"odd": f" {STATE}", "Failed": f" {STATE}", "failed,pending": f" {STATE}"},
    "status": {"9999": f" {STATUS}", "*xx": f" {STATUS}", "5x": f" {STATUS}", "099": f" {STATUS}", "late": f" {STATUS}"},
    "event_type": {"Lead.created": f" {TYPE}", "lead": f" {TYPE}", "lead*": f" {TYPE}", "*.created": f" {TYPE}", ".*": f" {TYPE}", f"a.{'b' * 127}": f" {TYPE}"},
    "event_id": {"a b": f" {EVENT}", "é": f" {EVENT}", "e" * 129: f" {EVENT}"},
    "cause": {},
    "since": TIMES,
    "until": TIMES,
    "text": {},
    "test": {"yes": " must be true or false.", "1": " must be true or false.", "True": " must be true or false."},
}  # fmt: skip
for _bad in BAD.values():
    _bad |= {"x" * 1001: f" {LONG}", "a\0b": f" {NO_TEXT}", "a\udc80b": f" {NO_TEXT}"}

# What each face calls a field; a face that has no such field is left out.
OPTIONS = {
    "project_id": "--project", "webhook_id": "--webhook", "state": "--state", "status": "--status", "event_type": "--type",
    "event_id": "--event", "cause": "--cause", "since": "--since", "until": "--until", "text": "--text",
    "test": "--test",
}  # fmt: skip
PARAMETERS = {field: {"text": "q"}.get(field, option[2:]) for field, option in OPTIONS.items()}
ON_PAGES = {field: {"project_id": "project", "webhook_id": "webhook"}.get(field, field) for field in OPTIONS}
IN_WORDS = {field: name.replace("_", " ") for field, name in ON_PAGES.items()}  # pages name no parameters
OF_EVENTS = ("project_id", "event_type", "since", "until")
OF_ENTRIES = ("project_id", "webhook_id", "since", "until")  # of the audit trail
CANNOT_BE_RESENT_BY = ("text", "test")


def query(name: str, value: str) -> str:
    return f"{name}={quote(value.encode('utf-8', 'surrogateescape'), safe='')}"


def commands(field: str) -> Iterator[tuple[str, ...]]:
    """The commands that take a field."""
    yield ("delivery", "list")
    if field not in CANNOT_BE_RESENT_BY:
        yield ("delivery", "resend", "--yes")
    if field in (*OF_EVENTS, "text"):
        yield ("event", "list")
    if field in OF_ENTRIES:
        yield ("audit",)


def lists(field: str) -> Iterator[str]:
    """The API's lists that take a field."""
    yield "/api/v1/deliveries"
    if field in OF_EVENTS:
        yield "/api/v1/events"
    if field in OF_ENTRIES:
        yield "/api/v1/audit"


def pages(field: str, webhook: str) -> Iterator[str]:
    """The pages that take a field."""
    if field != "webhook_id":
        yield "/deliveries"
    if field not in ("webhook_id", "project_id"):
        yield f"/webhooks/{webhook}/deliveries"
    if field not in CANNOT_BE_RESENT_BY:
        yield "/resends/new"
    if field in OF_EVENTS:
        yield "/events"
    if field in OF_ENTRIES:
        yield "/audit"


async def command(doors: Doors, *words: str) -> str:
    """What a command says that is used wrongly."""
    return await asyncio.to_thread(doors.shell.ours, *words, code=2)


async def page(doors: Doors, path: str, form: dict[str, str] | None = None) -> str:
    """What a page says that does not take what was typed."""
    method = "GET" if form is None else "POST"
    async with doors.client.request(method, path, data=form, headers=doors.pages.cookie(None)) as answer:
        text = await answer.text()
        assert answer.status == 422, (path, text)
        return html.unescape(text)


async def call(doors: Doors, method: str, path: str, body: object = None) -> tuple[str, str]:
    """What the API says, and of which field."""
    status, problem = await doors.api.call(method, path, None, body)
    assert status == 422, (path, problem)
    return problem["detail"], problem["field"]


@pytest.mark.long
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("field", BAD)
async def test_a_value_that_cannot_be_is_refused_in_the_same_words_at_every_face(
    shared_doors: Doors, field: str
) -> None:
    """A sentence that begins with the name which the face has for the field."""
    option, parameter, typed = OPTIONS[field], PARAMETERS[field], ON_PAGES[field]
    for value, words in BAD[field].items():
        for line in commands(field):
            assert f"{option}{words}" in await command(shared_doors, *line, option, value)
        for path in lists(field):
            answer = await call(shared_doors, "GET", f"{path}?{query(parameter, value)}")
            assert answer == (f"{parameter}{words}", parameter)
        if field not in CANNOT_BE_RESENT_BY:
            answer = await call(shared_doors, "POST", "/api/v1/resends", {field: value})
            assert answer == (f"{field}{words}", field)
        named = typed if words == f" {NO_TEXT}" else IN_WORDS[field]  # which no browser sends
        for path in pages(field, shared_doors.webhook):
            assert f"{named}{words}" in await page(shared_doors, f"{path}?{query(typed, value)}")
        if field not in CANNOT_BE_RESENT_BY and NO_TEXT not in words:
            assert f"{IN_WORDS[field]}{words}" in await page(shared_doors, "/resends", {typed: value})
        with pytest.raises(Refused) as refused:
            Selection.parse({field: value}, NOW)
        assert refused.value.message == f"{field}{words}"
    assert shared_doors.service.read(resends.find) == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("field", BAD)
async def test_an_empty_value_selects_nothing_by_mistake(shared_doors: Doors, field: str) -> None:
    """An unset variable of a script is refused; in a URL or a form an empty field is one that was left out."""
    words = "is empty: give it a value, or leave it out."
    for empty in ("", " "):
        for line in commands(field):
            assert f"{OPTIONS[field]} {words}" in await command(shared_doors, *line, OPTIONS[field], empty)
        if field not in CANNOT_BE_RESENT_BY:
            assert await call(shared_doors, "POST", "/api/v1/resends", {field: empty}) == (f"{field} {words}", field)
    for path in lists(field):
        assert (await shared_doors.api.call("GET", f"{path}?{PARAMETERS[field]}="))[0] == 200
    for path in pages(field, shared_doors.webhook):
        assert (await shared_doors.page(f"{path}?{ON_PAGES[field]}=", None))[0] == 200


async def test_what_is_said_twice_or_by_no_name_is_refused(doors: Doors) -> None:
    """By the list's other names in the API and on the pages; by the shell's habits in a command."""
    words = "is given more than once."
    assert f"--state {words}" in await command(doors, "delivery", "list", "--state", "failed", "--state", "pending")
    assert f"--limit {words}" in await command(doors, "delivery", "list", "--limit", "5", "--limit", "6")
    twice = "state=failed&state=pending"
    assert await call(doors, "GET", f"/api/v1/deliveries?{twice}") == (f"state {words}", "state")
    for path in ("/deliveries", "/resends/new", f"/webhooks/{doors.webhook}/deliveries"):
        assert f"state {words}" in await page(doors, f"{path}?{twice}")
        assert "There is no parameter 'stat'; known are state, status, " in await page(doors, f"{path}?stat=failed")
    for path in ("/events", "/rejected", "/resends", "/audit"):
        assert "There is no parameter 'stat'; known are " in await page(doors, f"{path}?stat=failed")
    assert "There is no parameter 'q'; known are state, " in await page(
        doors, "/resends", {"state": "failed", "q": "x"}
    )
    for method, path, body in (
        ("GET", "/api/v1/deliveries?stat=failed", None),
        ("GET", "/api/v1/events?stat=failed", None),
        ("POST", "/api/v1/resends", {"stat": "failed"}),
    ):
        detail, field = await call(doors, method, path, body)
        assert (detail.partition("; known are ")[0], field) == ("There is no parameter 'stat'", "stat")
    for line in (("delivery", "list"), ("delivery", "resend", "--yes"), ("event", "list")):
        assert "No such option" in await command(doors, *line, "--stat", "failed")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("number", ["", "0", "-1", "007", "+5", "5.0", "many", "1_0", " 5", "٥", "9" * 400])
async def test_a_number_of_rows_is_refused_in_the_same_words(shared_doors: Doors, number: str) -> None:
    """A command takes up to 100,000, the API 200; the pages have one size."""
    for line in (("delivery", "list"), ("delivery", "resends"), ("event", "list"), ("audit",)):
        said = await command(shared_doors, *line, f"--limit={number}")
        assert "--limit must be a whole number from 1 to 100000." in said
    for path in ("deliveries", "resends", "events", "audit"):
        if not number:  # of a URL it is left out
            continue
        answer = await call(shared_doors, "GET", f"/api/v1/{path}?{query('limit', number)}")
        assert answer == ("limit must be a whole number from 1 to 200.", "limit")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("place", ["x", "dlv_", "wh_1", "dlv_1'", "-1", "9" * 30, "dlv_" + "1" * 65])
async def test_a_place_to_go_on_that_no_page_gave_is_refused_in_the_same_words(shared_doors: Doors, place: str) -> None:
    """The newest rows in its stead would be taken for those that follow."""
    words = "must be one that a page of this list gave; leave it out to begin anew."
    for path in ("deliveries", "resends", "events", "audit"):
        said = await call(shared_doors, "GET", f"/api/v1/{path}?{query('cursor', place)}")
        assert said == (f"cursor {words}", "cursor")
    for path in (
        "/deliveries",
        f"/webhooks/{shared_doors.webhook}/deliveries",
        "/resends",
        "/events",
        "/rejected",
        "/audit",
    ):
        assert f"before {words}" in await page(shared_doors, f"{path}?{query('before', place)}")


def test_blanks_around_a_value_and_the_spelling_of_a_status_do_not_count() -> None:
    """What people paste; and what is kept of a resend is read again as it was."""
    texts = {"status": " Connection_Error ", "webhook_id": "wh_1\n", "since": " 2h ", "text": " wi_1 ", "test": "false"}
    selection = Selection.parse(texts, NOW)
    assert selection == Selection(
        webhook_id="wh_1", status="connection error", since=clock.moment("2h", NOW), text="wi_1", test=False
    )
    assert Selection.load(selection.dump()) == selection
    assert Selection.parse(dict(selection.dump()), NOW) == selection
    assert EventSelection.parse({"unmatched": "true"}, NOW) == EventSelection(unmatched=True)


async def test_the_same_resend_by_another_face_is_one_resend(doors: Doors, receiver: Receiver) -> None:
    """In whichever order its fields were given."""
    doors.service.options["delivery"] = {"retry_schedule": ["0s"]}
    await doors.service.stop()
    receiver.status = 503
    await doors.service.start()
    webhook = doors.service.webhook(receiver.url)
    doors.service.insert()
    await doors.service.until(lambda: doors.service.log(state="failed", webhook_id=webhook.id))
    await doors.service.stop()
    shell = doors.shell
    shell.ours("delivery", "resend", "--state", "failed", "--webhook", webhook.id, "--yes")
    said = shell.ours("delivery", "resend", "--webhook", webhook.id, "--state", "failed", "--yes", code=1)
    assert "of just these is under way already" in said


@pytest.mark.long
async def test_what_the_api_answers_is_what_its_document_says(doors: Doors, receiver: Receiver) -> None:
    """Every answer about deliveries, events and resends, by its schema: no field more, none less, each of its type."""
    receiver.status = 503
    webhook = doors.service.webhook(receiver.url)
    (event,) = doors.service.insert()
    await doors.service.until(lambda: doors.service.log(status="503", webhook_id=webhook.id))
    (row,) = doors.service.log(webhook_id=webhook.id)
    _, resend = await doors.api.call("POST", "/api/v1/resends", None, {"webhook_id": webhook.id})
    delivery = row["delivery_id"]
    _, document = await doors.api.call("GET", "/openapi.json")
    for method, path, template, body in (
        ("GET", "/deliveries?count=true", "/deliveries", None),
        ("GET", f"/deliveries/{delivery}", "/deliveries/{id}", None),
        ("POST", f"/deliveries/{delivery}/resend", "/deliveries/{id}/resend", {}),
        ("GET", "/events", "/events", None),
        ("GET", f"/events/{event}", "/events/{id}", None),
        ("GET", "/resends", "/resends", None),
        ("POST", "/resends", "/resends", {"webhook_id": webhook.id, "dry_run": True}),
        ("GET", f"/resends/{resend['id']}", "/resends/{id}", None),
        ("POST", f"/webhooks/{webhook.id}/test", "/webhooks/{id}/test", {}),
    ):
        status, answer = await doors.api.call(method, f"/api/v1{path}", None, body)
        described = document["paths"][f"/api/v1{template}"][method.lower()]["responses"][str(status)]
        name = described["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        schema = {**document["components"]["schemas"][name], "components": document["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(answer)
        assert answer.keys() == schema["properties"].keys(), path
