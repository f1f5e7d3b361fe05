"""Requests that are sent twice do what they do once, and get one answer."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Conflict
from almirant_webhooks.storage.engine import KEYS_KEPT, KeyedRow
from almirant_webhooks.storage.sql import audit, request_keys, webhooks
from almirant_webhooks.storage.sql.session import Session
from almirant_webhooks.web.request_keys import Keyed

from ..conftest import Receiver
from ..support import sessions
from ..support.service import Service
from .test_api import Api, api
from .test_pages import Pages, pages

__all__ = ["api", "pages"]


def _count(service: Service, table: str) -> int:
    return int(service.execute(f"SELECT count(*) FROM {table}")[0][0])


def _actions(service: Service) -> list[str]:
    return [entry["action"] for entry in service.read(audit.entries, limit=200)][::-1]


def _new(receiver: Receiver, project: str = "proj_1") -> dict[str, Any]:
    return {"project_id": project, "url": receiver.url, "events": ["*"]}


async def test_a_repeated_request_is_carried_out_once_and_answered_alike(api: Api, receiver: Receiver) -> None:
    """With the secret that was made for it; without a key each request stands for itself."""
    key = {"Idempotency-Key": "order 66".replace(" ", "-")}
    first = await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **key)
    assert first[0] == 201
    assert await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **key) == first
    assert (_count(api.service, "webhooks"), _actions(api.service)) == (1, ["webhook.created"])
    assert (await api.call("POST", "/api/v1/webhooks", None, _new(receiver)))[1]["id"] != first[1]["id"]
    async with api.client.post("/api/v1/webhooks", json=_new(receiver), headers=api.operator() | key) as answer:
        assert answer.headers["Location"] == f"/api/v1/webhooks/{first[1]['id']}"
        assert answer.headers["ETag"]


async def test_every_change_that_is_posted_takes_a_key(api: Api, receiver: Receiver) -> None:
    """Each is made once, and both requests are answered in the same words."""
    webhook = api.service.webhook(receiver.url)
    (event,) = api.service.insert()
    await api.service.until(lambda: api.service.log(state="succeeded"))
    delivery = api.service.log()[0]["delivery_id"]
    later, latest = api.service.webhook(receiver.url), api.service.webhook(receiver.url)
    one = f"/api/v1/webhooks/{webhook.id}"
    for number, (path, body, action) in enumerate(
        [
            (f"{one}/test", {"event_type": "lead.created"}, "webhook.tested"),
            (f"{one}/rotate-secret", {"switch_after": "24h"}, "secret.rotated"),
            (f"{one}/rotate-secret", {"cancel": True}, "secret.rotation_cancelled"),
            (f"{one}/disable", {}, "webhook.disabled"),
            (f"{one}/enable", {}, "webhook.enabled"),
            (f"/api/v1/deliveries/{delivery}/resend", {}, "delivery.resent"),
            (f"/api/v1/events/{event}/send-to", {"webhook_id": later.id}, "event.sent_to"),
            ("/api/v1/resends", {"project_id": "proj_1"}, "resend.started"),
            (f"/api/v1/webhooks/{latest.id}/replay", {"since": "1h"}, "replay.started"),
            ("/api/v1/tokens", {"project_id": "proj_1"}, "project_token.created"),
            ("/api/v1/portal-links", {"project_id": "proj_1"}, "portal_link.created"),
        ]
    ):
        key = {"Idempotency-Key": f"key-{number}"}
        status, first = await api.call("POST", path, None, body, **key)
        assert status < 300, (path, first)
        assert await api.call("POST", path, None, body, **key) == (status, first), path
        assert _actions(api.service).count(action) == 1, path


async def test_an_event_with_a_key_is_inserted_once(api: Api, engine_name: str) -> None:
    """Also if what was noted is gone: the outbox, which may be in another file, knows the id that comes of the key."""
    body = {"project_id": "proj_1", "event_type": "lead.created", "payload": {"a": 1}}
    first = await api.call("POST", "/api/v1/events", None, body, **{"Idempotency-Key": "k"})
    assert first[0] == 202
    api.service.execute("DELETE FROM request_keys")
    assert await api.call("POST", "/api/v1/events", None, body, **{"Idempotency-Key": "k"}) == first
    await api.service.until(lambda: _count(api.service, "events") == 1)
    assert _count(api.service, "outbox") == (
        engine_name == "sqlite"
    )  # where it is in PostgreSQL, what was taken leaves it
    other = api.producer("proj_1")
    assert (await api.call("POST", "/api/v1/events", other, body, **{"Idempotency-Key": "k"}))[1] != first[1]


async def test_a_key_is_its_callers_alone_and_of_one_request_alone(api: Api, receiver: Receiver) -> None:
    """Somebody else's is another key; with other content it is a 422, and nothing is done."""
    key = {"Idempotency-Key": "the-same"}
    _, first = await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **key)
    _, other = await api.call(
        "POST", "/api/v1/webhooks", api.admin("proj_2"), {**_new(receiver), "project_id": None}, **key
    )
    assert (first["project_id"], other["project_id"]) == ("proj_1", "proj_2")
    for path, body in (
        ("/api/v1/webhooks", {**_new(receiver), "description": "x"}),
        (f"/api/v1/webhooks/{first['id']}/disable", {}),
    ):
        status, problem = await api.call("POST", path, None, body, **key)
        assert (status, problem["field"]) == (422, "Idempotency-Key")
    for odd in ("", " ", "é", "x" * 256, "a b"):
        status, problem = await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **{"Idempotency-Key": odd})
        assert (status, problem["field"]) == (422, "Idempotency-Key"), odd
    assert _count(api.service, "webhooks") == 2


async def test_what_was_refused_can_be_mended_with_the_same_key(api: Api, receiver: Receiver) -> None:
    """Nothing was done, so nothing is remembered."""
    key = {"Idempotency-Key": "k"}
    assert (await api.call("POST", "/api/v1/webhooks", None, {**_new(receiver), "url": "http://x"}, **key))[0] == 422
    assert (await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **key))[0] == 201


async def test_ten_requests_of_one_key_at_the_same_moment_do_it_once(api: Api, receiver: Receiver) -> None:
    """The others wait for the answer of the first."""
    asked = [api.call("POST", "/api/v1/webhooks", None, _new(receiver), **{"Idempotency-Key": "k"}) for _ in range(10)]
    answers = await asyncio.gather(*asked)
    assert [answer for answer in answers if answer != answers[0]] == []
    assert (answers[0][0], _count(api.service, "webhooks")) == (201, 1)


async def test_of_two_processes_the_second_is_refused_in_the_transaction(service: Service) -> None:
    """What the first has noted meanwhile stops the change of the second as a whole."""
    service.migrate()
    row = KeyedRow(1, "r", '["", null]')
    now = clock.now()

    def change(conn: Session) -> None:
        webhooks.create(
            conn,
            project_id="p",
            url="https://example.com/",
            events=["*"],
            secret="s" * 20,
            description="",
            limit=9,
            now=now,
        )
        request_keys.note(conn, "operator", "k", row, now)

    service.write(change)
    with pytest.raises(Conflict, match="under way already"):
        service.write(change)
    assert _count(service, "webhooks") == 1
    service.write(request_keys.note, "operator", "k", row, now + KEYS_KEPT + timedelta(seconds=1))  # a day later


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", None),
        ("/rotate-secret", {"switch_after": "24h"}),
        ("/test", {}),
        ("tokens", {"project_id": "proj_1", "name": "t"}),
    ],
)
async def test_a_crash_between_the_change_and_its_answer_leaves_no_half(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    """The answer is made again from what was noted in the transaction of the change: the same secret, the same id."""
    webhook = api.service.webhook(receiver.url)
    place = (
        f"/api/v1/{path}"
        if path == "tokens"
        else f"/api/v1/webhooks/{webhook.id}{path}"
        if path
        else "/api/v1/webhooks"
    )
    sent = _new(receiver) if body is None else body

    async def crash(keyed: Keyed, answer: object) -> None:
        """As if the daemon had ended before the answer was kept."""

    monkeypatch.setattr(Keyed, "keep", crash)
    first = await api.call("POST", place, None, sent, **{"Idempotency-Key": "k"})
    before = _actions(api.service)
    assert first[0] in (201, 202)
    for _ in range(2):
        assert await api.call("POST", place, None, sent, **{"Idempotency-Key": "k"}) == first
        monkeypatch.undo()
    assert _actions(api.service) == before


async def test_what_is_kept_is_sealed_and_forgotten_after_a_day(api: Api, receiver: Receiver) -> None:
    """The file has neither the key nor the secret of the answer; what is old is removed in steps."""
    _, made = await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **{"Idempotency-Key": "my-own-key"})
    dump = api.service.dump()
    assert made["secret"] not in dump
    assert "my-own-key" not in dump
    rows = _count(api.service, "request_keys")
    assert rows == 2
    walk = request_keys.Sweep(clock.text(clock.now() + timedelta(seconds=1)))
    assert api.service.write(walk.step, 1)
    assert _count(api.service, "request_keys") == rows - 1
    old = clock.text(clock.now() - KEYS_KEPT)
    api.service.execute("UPDATE request_keys SET created_at = ?", old)
    again = await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **{"Idempotency-Key": "my-own-key"})
    assert (again[0], again[1]["id"] != made["id"]) == (201, True)


async def test_an_answer_that_no_key_opens_any_more_is_told(api: Api, receiver: Receiver) -> None:
    """The change is not made again."""

    async def call() -> tuple[int, Any]:
        return await api.call("POST", "/api/v1/webhooks", None, _new(receiver), **{"Idempotency-Key": "k"})

    await call()

    def move(conn: Session) -> None:
        sealed = conn.seals.seal("x", "somebody else", "answer")
        conn.execute("UPDATE request_keys SET content = ?", (sealed,))

    api.service.write(move)
    status, problem = await call()
    assert (status, "carried out already" in problem["detail"]) == (409, True)
    assert _count(api.service, "webhooks") == 1


async def _form(pages: Pages, path: str, who: dict[str, str]) -> str:
    """Return the key of the forms of a page."""
    async with pages.client.get(path, headers=who) as answer:
        keys = set(re.findall(r'<input type="hidden" name="once" value="([\w-]{22})">', await answer.text()))
    (key,) = keys
    return str(key)


async def test_a_second_click_makes_one_webhook_one_test_one_resend_and_one_change(
    pages: Pages, receiver: Receiver
) -> None:
    """Whatever the form: both clicks lead to the first one's result. A page that is opened anew has another key."""
    who = pages.cookie("proj_1")
    service = pages.service

    async def click_twice(page: str, action: str, **form: str) -> str:
        key = await _form(pages, page, who)
        assert await _form(pages, page, who) != key

        async def click() -> tuple[int, str]:
            async with pages.client.post(
                action, data={**form, "once": key}, headers=who, allow_redirects=False
            ) as answer:
                return answer.status, answer.headers.get("Location", "")

        first, second = await asyncio.gather(click(), click())
        assert (first[0], second) == (303, first), action
        return first[1]

    made = await click_twice("/webhooks/new", "/webhooks", url=receiver.url, events="*", secret_kind="generated")
    async with pages.client.get(made, headers=who) as answer:
        assert "whsec_" in await answer.text()  # who clicked twice sees the secret
    tested = await click_twice(made, f"{made}/test", event_type="lead.created")
    await service.until(lambda: service.log(state="succeeded"))
    delivery = tested.partition("?")[0]
    await click_twice(delivery, f"{delivery}/resend")
    await click_twice(f"{made}/rotate-secret", f"{made}/rotate-secret", switch_after="24h")
    await click_twice(made, f"{made}/disable")
    await click_twice(f"{made}/delete", f"{made}/delete", yes="1")
    assert [action for action in _actions(service) if not action.startswith(("session", "secret.revealed"))] == [
        "webhook.created", "webhook.tested", "delivery.resent", "secret.rotated", "webhook.disabled", "webhook.deleted",
    ]  # fmt: skip


async def test_a_form_that_was_changed_after_it_was_sent_is_another_request(pages: Pages, receiver: Receiver) -> None:
    """As by who goes back to it; and a key is of its session alone."""
    who, key = pages.cookie("proj_1"), "a" * 22
    other = sessions.cookie(pages.service, "proj_1")
    form = {"url": receiver.url, "events": "*", "once": key}
    for caller, sent in (
        (who, form),
        (who, {**form, "description": "x"}),
        (other, form),
        (who, {**form, "once": "short"}),
    ):
        async with pages.client.post("/webhooks", data=sent, headers=caller, allow_redirects=False) as answer:
            assert answer.status == 303
    assert _count(pages.service, "webhooks") == 4
