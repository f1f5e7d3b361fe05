"""The pages over HTTP: whose they are, what comes out as text, and where nobody is sent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from markupsafe import escape

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.rules.urls import Policy, check_url
from almirant_webhooks.storage.sql import project_tokens, resends, webhooks
from almirant_webhooks.storage.sqlite.connection import Connection
from almirant_webhooks.web import guard
from almirant_webhooks.web.app import make_app

from ..conftest import Receiver
from ..support import sessions
from ..support.service import SECRET, Service

HOSTILE = "\"'><img src=x onerror=alert(1)></script><script>alert(1)</script>{{7*7}}\u202e\x07"
# Every route with a page of it, from the application itself: a new one cannot be forgotten.
ROUTES = sorted(
    {
        (route.method, route.resource.canonical)
        for route in make_app(cast("Any", SimpleNamespace())).router.routes()
        if route.resource is not None and route.method != "HEAD" and guard.allowed_by(route.handler)
    }
)


class Pages:
    """A daemon with its pages, and a browser that follows nothing by itself."""

    def __init__(self, service: Service, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.client = client
        self.cookies: dict[str | None, dict[str, str]] = {}

    def cookie(self, project: str | None) -> dict[str, str]:
        if project not in self.cookies:
            self.cookies[project] = sessions.cookie(self.service, project)
        return self.cookies[project]

    async def get(self, path: str, project: str | None = "proj_1", status: int = 200) -> str:
        async with self.client.get(path, headers=self.cookie(project)) as answer:
            text = await answer.text()
            assert answer.status == status, (path, answer.status, text)
            return text

    async def post(self, path: str, project: str | None = "proj_1", **form: Any) -> tuple[int, str, str]:
        async with self.client.post(path, data=form, headers=self.cookie(project), allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()


@pytest.fixture
async def pages(service: Service) -> AsyncIterator[Pages]:
    """A daemon that serves its pages on a free port."""
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Pages(service, client)


async def test_another_projects_admin_is_refused_at_every_page(pages: Pages, receiver: Receiver) -> None:
    """Whatever names a thing of a project is not there for another one, and lists leave it out; nothing is changed."""
    service = pages.service
    webhook = service.webhook(receiver.url)
    (event,) = service.insert({"secret": "of project one"})
    await service.until(lambda: service.log(state="succeeded"))
    delivery = service.log()[0]["delivery_id"]
    before = service.read(webhooks.get, webhook.id)
    resend = service.write(
        resends.start, Selection(since=clock.now()), {webhook.id: 1}, actor="operator", now=clock.now()
    )
    token = service.write(
        project_tokens.add, digest="d", project_id="proj_1", name="t", actor="operator", now=clock.now()
    )
    named = {
        "/webhooks": webhook.id,
        "/deliveries": delivery,
        "/events": event,
        "/resends": resend,
        "/tokens": token["id"],
        "/sessions": "ses_1",
        "/answers": "x" * 22,
    }
    asked = 0
    for method, canonical in ROUTES:
        if canonical.startswith("/api/"):
            continue
        prefix = "/" + canonical.split("/")[1]
        path = canonical.replace("{id}", named.get(prefix, ""))
        about = f"{path} {method}"
        form = {"id": delivery, "project_id": "proj_1", "back": "/deliveries", "event_type": "work_item.created"}
        async with pages.client.request(
            method, path, data=form if method == "POST" else None, headers=pages.cookie("proj_2"), allow_redirects=False
        ) as answer:
            text = await answer.text()
        if path.startswith("/sessions"):  # the operator's alone
            assert answer.status == 403, about
        elif "{id}" in canonical or path == "/deliveries/resend":
            assert answer.status == 404, about
            asked += 1
        else:
            assert answer.status in (200, 422), about
        for found in (receiver.url, "of project one"):
            assert found not in text, about
        assert f"{webhook.id}" not in text or answer.status == 404, about
        async with pages.client.request(method, path, allow_redirects=False) as answer:
            if method == "POST":  # with what was typed, to be sent again
                assert (answer.status, 'action="/sign-in"' in await answer.text()) == (401, True), about
                continue
            assert answer.status == 303, about
            assert answer.headers["Location"].startswith("/sign-in"), about
    assert asked > 15
    assert service.read(webhooks.get, webhook.id) == before
    assert len(receiver.requests) == 1
    for path in ("/webhooks", "/deliveries", "/events", "/rejected", "/webhooks/new", "/audit"):
        await pages.get(f"{path}?project=proj_1", "proj_2", 404)


@pytest.mark.long
async def test_what_others_wrote_comes_out_as_text(pages: Pages, receiver: Receiver) -> None:
    """Of a producer, an admin and a receiver, in every field that they control, on every page."""
    service = pages.service

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=500, body=HOSTILE.encode(), headers={"X-Odd": HOSTILE[:60].replace("\u202e", "")})

    receiver.answer = answer
    project = "\"'><img/src=x>{{7*7}}"
    webhook = service.write(
        webhooks.create,
        project_id=project,
        url=f"{receiver.url}?q=%22%3E<script>alert(1)</script>'",
        events=["*"],
        secret=f"{SECRET}<script>alert(1)</script>",
        description=HOSTILE,
        limit=100,
        now=clock.now(),
    )
    (event,) = service.insert({HOSTILE: HOSTILE}, project=project)
    service.insert_broken((project, "a.b"))
    await service.until(lambda: service.log(status="500"))
    delivery = service.log()[0]["delivery_id"]
    one = f"/webhooks/{webhook.id}"
    asked = [f"{one}{rest}" for rest in ("", "/deliveries", "/edit", "/delete", "/enable", "/rotate-secret")]
    asked += [
        "/webhooks",
        "/webhooks/new",
        "/deliveries",
        f"/deliveries/{delivery}",
        "/events",
        f"/events/{event}",
        "/rejected",
        "/audit",
    ]
    words = quote(HOSTILE, safe="")
    # What a page takes as text; the rest is refused, in an answer that has it as text all the same.
    taken = {"/deliveries": {"cause", "text"}, "/webhooks": {"text", "before"}}
    lists = ("/deliveries", "/events", "/rejected", "/audit", "/webhooks")
    names = ("event_type", "event_id", "cause", "text", "next", "done", "before", "action", "webhook")
    for who in (project, None):
        for path in asked:
            _is_text(await pages.get(path, who), path)
        for path in (*lists, "/sign-in"):
            for name in names:
                refused = path in lists and name not in {"done", *taken.get(path, ())}
                _is_text(await pages.get(f"{path}?{name}={words}", who, 422 if refused else 200), path)
        for name in ("since", "until", "state", "status"):
            _is_text(await pages.get(f"/deliveries?{name}={words}", who, 422), name)
        _is_text((await pages.post(f"{one}/secret", who))[2], "secret")
        form = dict.fromkeys(("project_id", "url", "description", "secret", "events"), HOSTILE) | {"secret_kind": "own"}
        for path in ("/webhooks", f"{one}/edit"):
            status, _, text = await pages.post(path, who, **form)
            assert status == 422
            _is_text(text, path)
        _is_text((await pages.post(f"{one}/rotate-secret", who, secret="<script>"))[2], "rotate")
        _is_text(await pages.get("/webhooks/wh_<script>alert(1)</script>", who, 404), "error")


class _Elements(HTMLParser):
    """The elements of a page as a parser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "script":
            self.scripts.append(dict(attrs))


def _is_text(page: str, where: str) -> None:
    """No element, attribute or expression of theirs is in the page, and nothing turns its lines around."""
    found = _Elements(page)
    assert found.tags.isdisjoint({"img", "iframe", "object", "embed", "base", "style"}), where
    assert not {name for name in found.attributes if name.startswith("on") or name in ("style", "srcdoc")}, where
    assert [set(script) for script in found.scripts] == [{"src", "defer"}] * 5, where
    sources = [re.sub(r"\?v=[0-9a-f]+$", "", script["src"] or "") for script in found.scripts]
    names = ("texts", "live", "times", "app", "session")
    assert sources == [f"/static/{name}.js" for name in names], where
    assert "gt;49" not in page, where
    visible = re.sub(r'value="[^"]*"', "", page)
    visible = re.sub(r"<pre id=.*?</pre>", "", visible, flags=re.DOTALL)
    assert "\u202e" not in visible, where
    assert "\x07" not in visible, where


async def test_nobody_is_sent_to_another_site(pages: Pages) -> None:
    """What a form or a link names as the way back is a path of this site, or not followed."""
    for elsewhere in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nX: y",
        "",
    ):
        status, location, _ = await pages.post("/sign-in", None, token=pages.service.keys().token, next=elsewhere)
        assert (status, location) == (303, "/webhooks"), elsewhere
        status, location, _ = await pages.post("/deliveries/resend", back=elsewhere)
        assert (status, location) == (303, "/deliveries"), elsewhere
    status, location, _ = await pages.post(
        "/sign-in", None, token=pages.service.keys().token, next="/deliveries?state=failed"
    )
    assert location == "/deliveries?state=failed"


async def test_signing_in_and_out(pages: Pages) -> None:
    """A wrong token is told beside its field; signing out takes the cookie, and ends the session."""
    status, _, text = await pages.post("/sign-in", None, token="wrong")
    assert status == 401
    assert 'id="token-error"' in text
    status, location, _ = await pages.post("/sign-out")
    assert (status, location) == (303, "/sign-in")
    async with pages.client.get("/webhooks", headers=pages.cookie("proj_1"), allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/sign-in?next=/webhooks"
    async with pages.client.post("/sign-out", allow_redirects=False) as answer:
        assert "Max-Age=0" in answer.headers["Set-Cookie"]


async def test_a_form_says_beside_each_field_what_is_wrong(pages: Pages) -> None:
    """All at once, and what was typed is kept."""
    status, _, text = await pages.post(
        "/webhooks",
        url="http://example.com/x",
        events="work_item.craeted",
        secret_kind="own",
        secret="short",
        description="x" * 501,
    )
    assert status == 422
    for name in ("url", "events", "secret", "description"):
        assert f'id="{name}-error"' in text, name
    for typed in ("http://example.com/x", "short", "work_item.craeted"):
        assert typed in text


async def test_a_failing_webhook_is_shown_as_failing(pages: Pages) -> None:
    """In the list and on its own page, with since when; the others are not."""
    failing = pages.service.webhook("https://one.example/in")
    well = pages.service.webhook("https://two.example/in")
    conn = pages.service.producer()
    with conn:
        conn.execute(
            "UPDATE webhooks SET failing_since = '2026-01-01T00:00:00.000Z', failing_noticed_at = '2026-01-01T01:00:00.000Z', "
            "failures_in_a_row = 7 WHERE id = ?",
            (failing.id,),
        )
    conn.close()
    listed = await pages.get("/webhooks")
    assert listed.count("failing</span>") == 1
    for path, there in ((f"/webhooks/{failing.id}", True), (f"/webhooks/{well.id}", False)):
        text = await pages.get(path)
        assert ("failing</span>" in text and "2026-01-01 00:00:00" in text) is there, path


async def test_the_operator_sees_every_project_and_filters_by_one(pages: Pages) -> None:
    """The filter lives in the URL."""
    for project in ("proj_1", "proj_2"):
        pages.service.webhook(f"https://{project.replace('_', '-')}.example/in", project=project)
    every = await pages.get("/webhooks", None)
    assert "proj-1.example" in every
    assert "proj-2.example" in every
    assert "proj-2.example" not in (await pages.get("/webhooks?project=proj_1", None)).replace("<option", "")


async def test_the_form_says_when_a_project_has_all_the_webhooks_that_it_may_have(pages: Pages) -> None:
    """Nothing is made, what was typed is kept, and another project goes on; so it is by the API."""

    def fill(conn: Connection) -> None:
        for number in range(100):
            webhooks.create(conn, project_id="proj_1", url=f"https://example.com/{number}", events=["*"], secret=SECRET,
                            description="", limit=100, now=clock.now())  # fmt: skip

    pages.service.write(fill)
    form = {"url": "https://example.com/one-more", "events": "*", "secret_kind": "generated"}
    status, _, text = await pages.post("/webhooks", **form)
    assert status == 422
    full = "Project proj_1 has 100 webhooks, and a project may have 100."
    assert full in text
    assert "webhooks_per_project" not in text
    assert "https://example.com/one-more" in text
    body = {"url": "https://example.com/one-more", "events": ["*"]}
    async with pages.client.post("/api/v1/webhooks", json=body, headers=pages.cookie("proj_1")) as answer:
        assert answer.status == 422
        assert (await answer.json())["detail"].startswith(full)
    assert len(pages.service.read(webhooks.find, project_id="proj_1")) == 100
    assert (await pages.post("/webhooks", "proj_2", **form))[0] == 303


ODD = (
    "9" * 5000,
    "1" + "0" * 19,
    "-1",
    "\u0663",
    "\xb2",
    "\x00",
    "0001-01-01T00:00:00Z",
    "9" * 12 + "d",
    "NaN",
    "[a-",
    "%",
)


@pytest.mark.long
async def test_nothing_that_is_typed_into_a_url_or_a_form_is_an_error_of_ours(pages: Pages, receiver: Receiver) -> None:
    """Numbers without end, times out of range, and text in charsets of Python's own with half a character."""
    webhook = pages.service.webhook(receiver.url)
    (event,) = pages.service.insert()
    await pages.service.until(lambda: pages.service.log(state="succeeded"))
    named = {"/webhooks": webhook.id, "/deliveries": pages.service.log()[0]["delivery_id"], "/events": event}
    lists = (
        ("page", "before"),
        ("since", "until", "state", "status", "event_type", "text", "project", "webhook", "span"),
    )
    fields = (
        "url",
        "events",
        "description",
        "secret",
        "project_id",
        "event_type",
        "token",
        "held",
        "id",
        "back",
        "since",
    )
    for method, canonical in ROUTES:
        path = canonical.replace("{id}", named.get("/" + canonical.split("/")[1], ""))
        if canonical.startswith("/api/") or path.endswith(("/delete", "/sign-out")):
            continue
        asked: list[dict[str, Any]] = [
            {"params": dict.fromkeys(names, odd)} for names in lists for odd in ODD if method == "GET"
        ]
        for charset, half in (("unicode_escape", "\\ud800"), ("utf-7", "+2AA-")) if method == "POST" else ():
            form = {"url": "https://example.com/", "events": "*", "project_id": "p", "secret_kind": "own"}
            for name in fields:
                body = "&".join(f"{one}={value}" for one, value in {**form, name: half + "a" * 20}.items())
                kind = f"application/x-www-form-urlencoded; charset={charset}"
                asked.append({"data": body.encode(), "headers": {"Content-Type": kind}})
        for one in asked:
            one["headers"] = {**one.get("headers", {}), **pages.cookie(None)}
            async with pages.client.request(method, path, allow_redirects=False, **one) as answer:
                assert answer.status < 500, (path, one)


async def test_a_redirect_has_the_headers_of_every_other_answer(pages: Pages) -> None:
    """It is raised, not returned."""
    async with pages.client.get("/webhooks", allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


async def test_a_projects_rejected_rows_are_not_hidden_by_those_of_others(pages: Pages) -> None:
    """However many another project has; theirs are not shown."""
    pages.service.insert_broken(("proj_1", "own.kind"), *[("proj_2", "other.kind")] * 1500)
    counted = "SELECT count(*) FROM outbox WHERE rejected_reason IS NOT NULL"
    await pages.service.until(lambda: pages.service.ask(counted)[0] == 1501)
    page = await pages.get("/rejected", "proj_1")
    assert "own.kind" in page
    assert "other.kind" not in page
    assert (await pages.get("/rejected", None)).count("other.kind") == 50


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "https://u:p@example.com/", "https://example.com/#x", "https://10.0.0.1/",
        "https://[::ffff:169.254.169.254]/", "https://0177.0.0.1/", "https://2130706433/", "https://a..example.com/",
        "https://exam ple.com/", "https://example.com:0/", "https://example.com/" + "a" * 2048,
    ],
)  # fmt: skip
async def test_a_url_is_refused_with_the_same_sentence_by_command_api_and_page(
    pages: Pages, tmp_path: Path, url: str
) -> None:
    """When a webhook is made, and when it is changed."""
    there = pages.service.webhook("https://example.com/in")
    with pytest.raises(Refused) as refusal:
        check_url(url, Policy(allow_localhost=True))
    sentence = refusal.value.message
    shell = pages.service.shell(tmp_path)
    create = ("webhook", "create", "--project", "proj_1", "--event", "*", "--url", url)
    for words in (create, ("webhook", "update", there.id, "--url", url)):
        assert sentence in " ".join(shell.ours(*words, code=1).split())
    one = f"/api/v1/webhooks/{there.id}"
    for method, path in (("POST", "/api/v1/webhooks"), ("PATCH", one)):
        body = {"url": url, "events": ["*"]}
        async with pages.client.request(method, path, json=body, headers=pages.cookie("proj_1")) as answer:
            problem = await answer.json()
        assert (answer.status, problem["detail"], problem["field"]) == (422, sentence, "url")
    for path in ("/webhooks", f"/webhooks/{there.id}/edit"):
        status, _, text = await pages.post(path, url=url, events="*", secret_kind="generated", description="")
        assert status == 422
        assert escape(sentence) in text
    (kept,) = pages.service.read(webhooks.find)
    assert kept.url == "https://example.com/in"


async def test_the_log_says_at_a_link_how_many_deliveries_match(pages: Pages, receiver: Receiver) -> None:
    """Of the project's own, with the filters that are set, on every page of them."""
    pages.service.webhook(receiver.url)
    pages.service.webhook(receiver.url, project="proj_2")
    pages.service.insert(*({"n": number} for number in range(60)))
    pages.service.insert(project="proj_2")
    await pages.service.until(lambda: len(pages.service.log(state="succeeded", limit=100)) == 61)
    first = await pages.get("/deliveries?state=succeeded")
    assert "deliveries match" not in first
    assert 'href="/deliveries?state=succeeded&amp;count=1"' in first
    for who, total in (
        ("proj_1", "60 deliveries match."),
        (None, "61 deliveries match."),
        ("proj_2", "1 delivery matches."),
    ):
        assert total in await pages.get("/deliveries?state=succeeded&count=1", who)
    assert "No deliveries match" in await pages.get("/deliveries?state=failed&count=1")
    older = re.search(r'href="([^"]*before=[^"]*)" rel="next"', first)
    assert older is not None
    second = await pages.get(older[1].replace("&amp;", "&") + "&count=1")
    assert "60 deliveries match." in second
