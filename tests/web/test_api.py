"""The JSON API: each caller gets what is theirs, in the shapes of the contract; what is wrong is a problem with its field."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from almirant_webhooks import clock
from almirant_webhooks.rules import links, principals
from almirant_webhooks.rules.principals import Role
from almirant_webhooks.storage.sql import held, producers
from almirant_webhooks.web.api import ROUTES
from almirant_webhooks.web.api import events as api_events
from almirant_webhooks.web.api.parsing import as_written
from almirant_webhooks.web.pages import events as page_events

from ..conftest import Receiver, receiving
from ..support import sessions
from ..support.engines import service_on
from ..support.service import Service


@dataclass
class Api:
    """A daemon that serves the API, and calls of it by different callers."""

    service: Service
    client: aiohttp.ClientSession
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of what there is

    def key(self) -> bytes:
        return self.service.keys().signing_key

    def operator(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.service.keys().token}"}

    def admin(self, project: str) -> dict[str, str]:
        if project not in self.cookies:
            self.cookies[project] = sessions.cookie(self.service, project)
        return self.cookies[project]

    def producer(self, project: str | None) -> dict[str, str]:
        token = f"awp_{project}"
        self.service.write(
            producers.add, digest=principals.digest(token), project_id=project, actor="operator", now=clock.now()
        )
        return {"Authorization": f"Bearer {token}"}

    async def call(
        self, method: str, path: str, who: dict[str, str] | None = None, body: object = None, **headers: str
    ) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(self.operator() if who is None else who), **headers}
        async with self.client.request(method, path, data=raw, headers=sent) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None


@pytest.fixture
async def api(service: Service) -> AsyncIterator[Api]:
    """A daemon with the API on a free port."""
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Api(service, client)


@pytest.mark.each_engine
async def test_a_webhook_lives_from_creation_to_deletion(api: Api, receiver: Receiver) -> None:
    """201 with its secret, which is nowhere else but at /secret; 204 when it is gone."""
    new = {"project_id": "proj_1", "url": receiver.url, "events": ["work_item.*"], "description": "the board"}
    status, made = await api.call("POST", "/api/v1/webhooks", body=new)
    assert status == 201
    assert made["secret"].startswith("whsec_")
    path = f"/api/v1/webhooks/{made['id']}"
    status, shown = await api.call("GET", path)
    assert (status, set(shown)) == (
        200,
        {
            *("id", "project_id", "url", "description", "events", "enabled", "created_at", "updated_at"),
            *("filter", "concurrency", "headers", "rate_limit", "template"),
            *("disabled_at", "disabled_reason"),
            "ordered",
        },
    )
    status, changed = await api.call("PATCH", path, body={"events": ["lead.created"]})
    assert (status, changed["events"], changed["description"]) == (200, ["lead.created"], "the board")
    for wrong in (True, "4", 1.5, [4]):
        status, problem = await api.call("PATCH", path, body={"concurrency": wrong})
        assert (status, problem["field"]) == (422, "concurrency")
    for no_text in (True, 4, ["{}"]):
        status, problem = await api.call("PATCH", path, body={"template": no_text})
        assert (status, problem["field"]) == (422, "template")
    assert (await api.call("POST", f"{path}/disable"))[1]["enabled"] is False
    assert (await api.call("POST", f"{path}/enable"))[1] == {**shown, "events": ["lead.created"], "held": 0} | {
        "updated_at": (await api.call("GET", path))[1]["updated_at"]
    }
    assert (await api.call("GET", f"{path}/secret"))[1]["secret"] == made["secret"]
    status, started = await api.call("POST", f"{path}/rotate-secret", body={"switch_after": "1h"})
    assert status == 202
    assert (await api.call("GET", f"{path}/secret"))[1]["next_secret"] == started["secret"]
    assert (await api.call("POST", f"{path}/rotate-secret", body={"cancel": True}))[1]["cancelled"] is True
    assert await api.call("DELETE", path) == (204, None)
    for method, more in (("GET", ""), ("DELETE", ""), ("GET", "/secret"), ("POST", "/enable")):
        status, problem = await api.call(method, path + more)
        assert (status, problem["field"]) == (404, "id")


async def test_a_test_and_a_resend_go_out_at_once(api: Api, receiver: Receiver) -> None:
    """The daemon need not be woken by anything else, and the delivery shows its attempts."""
    api.service.options["outbox"] = {"poll_interval": "1h"}
    webhook = api.service.webhook(receiver.url)
    status, asked = await api.call("POST", f"/api/v1/webhooks/{webhook.id}/test", body={"event_type": "lead.created"})
    assert status == 202
    await api.service.until(lambda: receiver.requests)
    assert receiver.requests[0].headers["X-Almirant-Test"] == "1"
    path = f"/api/v1/deliveries/{asked['delivery_id']}"
    await api.service.until(lambda: api.service.log(state="succeeded"))
    assert (await api.call("POST", f"{path}/resend")) == (202, {"delivery_id": asked["delivery_id"], "asked": True})
    await api.service.until(lambda: len(receiver.requests) == 2)
    await api.service.until(lambda: len(api.service.detail(asked["delivery_id"])["attempt_list"]) == 2)
    status, shown = await api.call("GET", path)
    assert (status, shown["id"], shown["held"]) == (200, asked["delivery_id"], False)
    assert [attempt["number"] for attempt in shown["attempt_list"]] == [1, 2]


@pytest.mark.long
async def test_an_event_is_taken_as_its_producer_wrote_it(api: Api, receiver: Receiver) -> None:
    """202 once it is committed; again with the same content likewise; with other content 409."""
    api.service.webhook(receiver.url)
    payload = '{"b": 1.50, "a": "\\u00e9", "b2": {"payload": 1e2}}'
    document = f'{{"payload": 1, "event_id": "e-1", "event_type": "lead.created", "payload" : {payload} , "project_id": "proj_1"}}'
    producer = api.producer("proj_1")
    for _ in range(2):
        assert await api.call("POST", "/api/v1/events", producer, document.encode()) == (202, {"event_id": "e-1"})
    await api.service.until(lambda: receiver.requests)
    assert receiver.requests[0].body.endswith(f'"data": {payload}}}'.encode())
    status, problem = await api.call("POST", "/api/v1/events", producer, document.replace("1.50", "2").encode())
    assert (status, problem["field"]) == (409, "event_id")
    await api.service.until(lambda: api.service.log(state="succeeded"))
    status, shown = await api.call("GET", "/api/v1/events/e-1")
    assert (status, [one["outcome"] for one in shown["outcomes"]]) == (200, ["succeeded"])


async def test_an_event_has_the_time_at_which_it_happened(api: Api, receiver: Receiver, engine_name: str) -> None:
    """By the API and the command alike, in any zone; with another time the same id is other content."""
    api.service.webhook(receiver.url)
    event = {"project_id": "proj_1", "event_type": "lead.created", "payload": {}, "event_id": "e-1"}
    for written in ("2026-01-31T10:30:00.5+01:00", "2026-01-31T09:30:00.500Z"):
        assert (await api.call("POST", "/api/v1/events", None, {**event, "occurred_at": written}))[0] == 202
    status, problem = await api.call("POST", "/api/v1/events", None, {**event, "occurred_at": "2026-01-31"})
    # Where the outbox is in PostgreSQL no row stays that was taken: the daemon knows the id, and takes it for a duplicate.
    assert (status, problem.get("field")) == (409, "event_id") or (engine_name != "sqlite" and status == 202)
    assert (await api.call("POST", "/api/v1/events", None, event))[0] == 202
    shell = api.service.shell()
    send = ("event", "send", "--project", "proj_1", "--type", "lead.created", "--data", "{}")
    await asyncio.to_thread(shell.ours, *send, "--occurred-at", "2026-01-31")
    await api.service.until(lambda: len(receiver.requests) == 2)
    times = {json.loads(request.body)["timestamp"] for request in receiver.requests}
    assert times == {"2026-01-31T09:30:00.500Z", "2026-01-31T00:00:00.000Z"}


async def test_a_list_takes_how_long_ago_as_the_command_does(api: Api) -> None:
    """`since=2h`, at every list that has times, and in a resend of many."""
    api.service.webhook("http://127.0.0.1:9/")
    for path in ("deliveries", "events", "audit"):
        for time in ("2h", "500ms", "7d"):
            assert (await api.call("GET", f"/api/v1/{path}?since={time}&until=1ms"))[0] == 200
    assert len((await api.call("GET", "/api/v1/audit?since=1h"))[1]["items"]) == 1
    assert (await api.call("GET", "/api/v1/audit?until=1h"))[1]["items"] == []
    assert (await api.call("POST", "/api/v1/resends", None, {"since": "2h", "dry_run": True}))[0] == 200


@pytest.mark.parametrize(
    ("document", "value"),
    [('{"payload":{}}', "{}"), (' { "a" : [1,{"payload":2}], "payload" :\n{"x": 1.0} , "z":null } ', '{"x": 1.0}')],
)
def test_a_value_is_cut_out_in_its_own_spelling(document: str, value: str) -> None:
    """Of the top level alone."""
    assert as_written(document, "payload") == value


async def test_a_producers_token_is_for_events_of_its_project_alone(api: Api) -> None:
    """403 elsewhere, 404 for another project; one that is not bound may send to each."""
    bound, free = api.producer("proj_1"), api.producer(None)
    event = {"project_id": "proj_2", "event_type": "lead.created", "payload": {}}
    assert (await api.call("POST", "/api/v1/events", bound, event))[0] == 404
    assert (await api.call("POST", "/api/v1/events", bound, {**event, "project_id": None}))[0] == 202
    assert (await api.call("POST", "/api/v1/events", free, event))[0] == 202
    assert (await api.call("GET", "/api/v1/webhooks", bound))[0] == 403


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_api(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> AsyncIterator[Api]:
    """One for the lines of a table: what they ask for is refused, and changes nothing. `names` are those of what there is."""
    with service_on(engine_name, tmp_path_factory.mktemp("api")) as service:
        async with receiving() as receiver:
            try:
                address = await service.serve()
                async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
                    yield await _furnished(Api(service, client), receiver.url)
            finally:
                await service.close()


async def _furnished(api: Api, url: str) -> Api:
    """Make one of each thing that a project has."""
    webhook = api.service.webhook(url)
    (event,) = api.service.insert()
    await api.service.until(lambda: api.service.log(state="succeeded"))
    api.names = {"webhooks": webhook.id, "deliveries": api.service.log()[0]["delivery_id"], "events": event}
    for thing, made in (("resends", 202), ("tokens", 201)):
        status, answer = await api.call("POST", f"/api/v1/{thing}", body={"project_id": "proj_1"})
        assert status == made
        api.names[thing] = answer["id"]
    return api


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_refuses_strangers_and_other_projects(shared_api: Api, route: Any) -> None:
    """Nobody: 401. Another project's admin: nothing of it, in the words of a thing that is not there."""
    api = shared_api
    path = route.path.replace("{id}", api.names.get(route.path.split("/")[3], ""))
    body = {"project_id": "proj_1"} if route.body is not None and "project_id" in route.body.model_fields else None
    if route.body is not None and "url" in route.body.model_fields and body:
        body |= {"url": "https://example.com/in", "events": ["*"]}  # type: ignore[dict-item]
    if path.endswith(("/replay", "/send-to")):
        body = {"since": "1h"} if path.endswith("/replay") else {"webhook_id": api.names["webhooks"]}
    assert (await api.call(route.method, path, {}, body))[0] == 401
    status, answer = await api.call(route.method, path, api.admin("proj_2"), body)
    if route.path.endswith(("/event-types", "/whoami")):
        assert status == 200
    elif ("{id}" in route.path and Role.PROJECT_ADMIN in route.roles) or (
        body is not None and Role.PROJECT_ADMIN in route.roles
    ):
        assert status == 404, answer
        missing = path.replace(path.split("/")[4], "none") if "{id}" in route.path else path
        _, other = await api.call(route.method, missing, api.admin("proj_2"), body)
        assert answer["detail"].split()[:4] == other["detail"].split()[:4]
    elif route.path.endswith("v1/activity"):
        assert (status, answer["attempts"], answer["parts"], answer["failures"]) == (200, 0, [], {})
    elif route.path.endswith("/audit"):  # of that project is the session that asks
        assert status == 200
        assert {entry["project_id"] for entry in answer["items"]} <= {"proj_2"}
    elif Role.PROJECT_ADMIN in route.roles:
        assert (status, answer["items"]) == (200, [])
    else:
        assert status == 403


async def test_a_session_acts_from_its_own_pages_alone(api: Api) -> None:
    """A form on another site is refused; one with the operator's token in a header has nothing to fear."""
    new = {"url": "https://example.com/", "events": ["*"]}
    admin = api.admin("proj_1")
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        assert (await api.call("POST", "/api/v1/webhooks", admin, new, **headers))[0] == 403
    assert (await api.call("POST", "/api/v1/webhooks", admin, new, **{"Sec-Fetch-Site": "same-origin"}))[0] == 201
    operator = {**new, "project_id": "proj_1"}
    assert (await api.call("POST", "/api/v1/webhooks", None, operator, Origin="https://evil.example"))[0] == 201


async def test_what_cannot_be_read_is_refused_without_a_traceback(
    api: Api, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A broken body is a 400, a broken origin a 403; the log has no byte of a request that cannot be parsed."""
    assert (await api.call("POST", "/api/v1/webhooks", {}, {}, Origin="http://[::1"))[0] == 403
    assert api.service.daemon is not None
    assert api.service.daemon.address is not None
    host, port = api.service.daemon.address
    for head, body in (
        ("GET /portal/a.link HTTP/1.1\r\nAuthorization: Bearer a-token\x00", ""),
        ("POST /api/v1/events HTTP/1.1\r\nContent-Length: 2\r\nContent-Encoding: gzip", "{}"),
    ):
        reader, writer = await asyncio.open_connection(host, port)
        token = "" if "a-token" in head else f"Authorization: {api.operator()['Authorization']}\r\n"
        writer.write(f"{head}\r\nHost: {host}:{port}\r\n{token}\r\n{body}".encode())
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    seen = caplog.text + "".join(capfd.readouterr())
    assert "a-token" not in seen
    assert "Traceback" not in seen


async def test_lists_go_on_from_their_cursor(api: Api) -> None:
    """Each item once, whatever arrives meanwhile."""
    made = [api.service.webhook(f"http://127.0.0.1:{port}/").id for port in range(9, 16)]
    seen: list[str] = []
    cursor = ""
    while True:
        status, page = await api.call("GET", f"/api/v1/webhooks?limit=3&cursor={cursor}")
        assert status == 200
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)


async def test_what_became_of_an_event_comes_in_pages_of_webhooks(
    api: Api, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each webhook once, by the cursor, and on the page behind a link: one request costs others no more for a large project."""
    monkeypatch.setattr(api_events, "_OUTCOMES", 2)
    monkeypatch.setattr(page_events, "_OUTCOMES", 2)
    made = sorted(api.service.webhook(receiver.url).id for _ in range(3))
    (event,) = api.service.insert()
    await api.service.until(lambda: len(api.service.log(state="succeeded")) == 3)
    status, first = await api.call("GET", f"/api/v1/events/{event}")
    assert (status, [one["webhook_id"] for one in first["outcomes"]]) == (200, made[:2])
    status, last = await api.call("GET", f"/api/v1/events/{event}?cursor={first['next_cursor']}")
    assert (status, [one["webhook_id"] for one in last["outcomes"]], last["next_cursor"]) == (200, made[2:], None)
    status, refused = await api.call("GET", f"/api/v1/events/{event}?cursor=x")
    assert (status, refused["field"]) == (422, "cursor")
    async with api.client.get(f"/events/{event}", headers=api.admin("proj_1")) as answer:
        page = await answer.text()
    link = f"/events/{event}?project=proj_1&amp;after={made[1]}"
    assert (made[1] in page, made[2] in page, f'href="{link}"' in page) == (True, False, True)
    async with api.client.get(link.replace("&amp;", "&"), headers=api.admin("proj_1")) as answer:
        page = (await answer.text()).partition("</main>")[0]
    assert (made[1] in page, made[2] in page, "More webhooks" in page) == (False, True, False)


async def test_enabling_discards_all_that_is_held_and_says_how_much(api: Api, receiver: Receiver) -> None:
    """At once: none of it is pending, held or sent; the trail has the number."""
    webhook = api.service.webhook(receiver.url)
    await api.call("POST", f"/api/v1/webhooks/{webhook.id}/disable", body={})
    api.service.insert(*({"n": number} for number in range(300)))
    await api.service.until(lambda: api.service.read(held.count, webhook.id) == 300)
    status, enabled = await api.call("POST", f"/api/v1/webhooks/{webhook.id}/enable", body={"discard_held": True})
    assert (status, enabled["enabled"], enabled["held"]) == (200, True, 300)
    for state, expected in (("held", 0), ("pending", 0), ("cancelled", 300)):
        _, counted = await api.call("GET", f"/api/v1/deliveries?state={state}&count=true")
        assert counted["count"] == {"value": expected, "complete": True}
    (new,) = api.service.insert()
    await api.service.until(lambda: api.service.log(state="succeeded"))
    assert [row["event_id"] for row in api.service.log(state="succeeded")] == [new]
    assert len(receiver.requests) == 1
    _, trail = await api.call("GET", "/api/v1/audit?action=webhook.enabled")
    assert [one["detail"] for one in trail["items"]] == ["300 held deliveries discarded"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/webhooks", {"project_id": "p", "url": "http://example.com/", "events": ["*"]}, "url"),
        ("POST", "/webhooks", {"project_id": "p", "url": "https://example.com/", "events": ["nothing"]}, "events"),
        ("POST", "/webhooks", {"project_id": "p", "url": "https://example.com/", "events": []}, "events"),
        ("POST", "/webhooks", {"project_id": "p", "url": "https://example.com/", "events": ["*"], "secret": "x"}, "secret"),
        ("POST", "/webhooks", {"project_id": "p", "url": 7, "events": ["*"]}, "url"),
        ("POST", "/webhooks", {"project_id": "p", "url": "https://example.com/", "events": ["*"], "odd": 1}, "odd"),
        ("POST", "/webhooks", {"url": "https://example.com/", "events": ["*"]}, "project_id"),
        ("POST", "/webhooks", {"project_id": "a b", "url": "https://example.com/", "events": ["*"]}, "project_id"),
        ("POST", "/webhooks", b"{", "body"),
        ("POST", "/webhooks", b"\xff", "body"),
        ("POST", "/webhooks", b"[" * 100_000, "body"),
        ("POST", "/webhooks", [], "body"),
        ("POST", "/events", {"project_id": "p", "event_type": "UPPER", "payload": {}}, "event_type"),
        ("POST", "/events", {"project_id": "p", "event_type": "a.b", "payload": []}, "payload"),
        ("POST", "/events", {"project_id": "p", "event_type": "a.b", "payload": {}, "event_id": "a b"}, "event_id"),
        ("GET", "/deliveries?state=odd", None, "state"),
        ("GET", "/deliveries?limit=0", None, "limit"),
        ("GET", "/deliveries?limit=²", None, "limit"),
        ("GET", "/deliveries?since=soon", None, "since"),
        ("GET", "/deliveries?odd=1", None, "odd"),
        ("GET", "/events?cursor=x", None, "cursor"),
        ("GET", "/deliveries?cursor=x", None, "cursor"),
        ("GET", "/webhooks?cursor=x", None, "cursor"),
        ("POST", "/resends", {"cause": "\ud800", "dry_run": True}, "cause"),
        ("POST", "/webhooks", {"project_id": "p", "url": "https://example.com/", "events": ["*"], "description": "\ud800"}, "description"),
        ("POST", "/portal-links", {"project_id": "p", "expires": "1y"}, "expires"),
        ("POST", "/portal-links", {"project_id": "p", "expires": "31d"}, "expires"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_with_its_field(
    shared_api: Api, method: str, path: str, body: object, field: str
) -> None:
    """An RFC 9457 document with a sentence."""
    status, problem = await shared_api.call(method, f"/api/v1{path}", None, body)
    assert status == 422, problem
    assert problem["field"] == field
    assert problem["detail"].endswith(".")


async def test_a_body_is_bounded(api: Api) -> None:
    """413 beyond a mebibyte."""
    async with api.client.post(
        "/api/v1/webhooks", data=io.BytesIO(b" " * (2**20 + 1)), headers=api.operator()
    ) as answer:
        assert (answer.status, (await answer.json(content_type=None))["status"]) == (413, 413)


async def test_a_link_is_for_the_project_that_it_names(api: Api) -> None:
    """The operator alone makes one."""
    status, made = await api.call("POST", "/api/v1/portal-links", None, {"project_id": "proj_1", "expires": "15m"})
    assert status == 201
    link = links.read(api.key(), made["url"].rpartition("/")[2], clock.now().timestamp())
    assert link is not None
    assert link[:1] + link[2:] == ("proj_1", "", False, "")


async def test_a_template_that_is_nested_as_deep_as_json_goes_is_answered(api: Api) -> None:
    """Whatever the depth: never with a 500."""
    for depth in (*range(900, 1000, 3), 5000):
        body = b'{"template": ' + b'{"a": ' * depth + b"1" + b"}" * depth + b"}"
        status, _ = await api.call("POST", "/api/v1/webhooks/preview", None, body)
        assert status < 500, depth
