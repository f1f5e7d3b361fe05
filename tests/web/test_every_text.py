"""No page shows a text that cannot be translated: in a language of brackets, all that stands outside of them is data."""

from __future__ import annotations

import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from almirant_webhooks import clock
from almirant_webhooks.rules import versions
from almirant_webhooks.rules.audited import AUDITED_ACTIONS
from almirant_webhooks.rules.conditions import OPERATORS, WITHOUT_VALUE
from almirant_webhooks.rules.languages import LANGUAGES
from almirant_webhooks.storage.sql import audit, webhooks
from almirant_webhooks.web.app import MAX_BODY
from almirant_webhooks.web.pages import languages

from ..conftest import Receiver
from ..support import sessions
from ..support.catalogues import LOCALE, write_brackets
from ..support.service import Service
from .test_pages import Pages, pages

__all__ = ["pages"]

CODE = "eo"
# What is written as it is in every language: names, what rows have, what people and programs wrote, and words of the command.
_DATA_TAGS = {"code", "pre", "script", "style"}
_DATA_CLASSES = {"url"}
_NAMES = re.compile(
    r"\b(?:Almirant Webhooks|Webhooks|Almirant|proj_\d|UTC|English|Español|Esperanto|Python|Node\.js|PHP|Go|Slack|Discord|Microsoft Teams"
    r"|Google Chat|POST|almirant\.[\w.*]+|(?:lead|sprint|work_item)\.[\w*]+|\dh|\dd|\d{2}[hd]"
    r"|high|deploy|data\.[\w.]+|\dxx|https?://\S+|example\.com\S*|localhost\S*|127\.0\.0\.1\S*|dlv_\w+|evt_\w+|wh_\w+|rsd_\w+|ptk_\w+)\b",
)
_SHOWN_ATTRIBUTES = ("aria-label", "placeholder", "title", "alt", "data-column")


class Visible(HTMLParser):
    """The texts of a page that people read or hear, but for data."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        shown = [values[name] or "" for name in _SHOWN_ATTRIBUTES if name in values]
        self.texts += [text for text in shown if text[:1] != "{"]  # an example of JSON
        if tag in ("input", "meta", "link", "br", "img", "path", "rect", "circle"):
            return
        is_data = tag in _DATA_TAGS or bool(_DATA_CLASSES & set((values.get("class") or "").split()))
        is_data = is_data or values.get("name") == "event_type"
        self._open.append((tag, is_data))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(is_data for _, is_data in self._open):
            self.texts.append(data)


def outside(text: str) -> str:
    """What of a text is in no brackets and no data."""
    while (inner := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:
        text = inner
    return " ".join(re.findall(r"[^\W\d_]{2,}", _NAMES.sub("", text)))


def untranslated(page: str) -> list[str]:
    """The texts of a page that no catalogue can have."""
    # Marks of one text may stand in several elements, as where it has a link in it.
    visible = Visible()
    visible.feed(page)
    whole = "\x00".join(visible.texts)
    depth, piece = 0, ""
    for char in whole:
        if char == "⟦":
            depth += 1
        elif char == "⟧":
            depth -= 1
        elif depth == 0:
            piece += char
    return [words for part in piece.split("\x00") if (words := outside(part))]


@pytest.fixture(scope="module")
def in_brackets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogues, with those of a language in which each text is itself in brackets."""
    locale = tmp_path_factory.mktemp("catalogues") / "locale"
    shutil.copytree(LOCALE, locale)
    write_brackets(locale, CODE)
    return locale


@pytest.fixture(autouse=True)
def brackets(monkeypatch: pytest.MonkeyPatch, in_brackets: Path) -> None:
    """One more language, that of brackets."""
    monkeypatch.setattr(languages, "LOCALE", in_brackets)
    monkeypatch.setitem(LANGUAGES, CODE, "Esperanto")


async def _fail(request: web.Request) -> web.Response:
    return web.json_response({"error": "Not today"}, status=503)


@pytest.fixture
async def filled(pages: Pages, receiver: Receiver) -> dict[str, str]:
    """A project in which something has worked, failed, been held, filtered out and rejected."""
    service = pages.service
    good = service.webhook(receiver.url, rate_limit="10/s", ordered=True)
    other = service.webhook(
        "https://example.com/in", "lead.*", filter=[{"field": "data.x", "op": "exists"}], concurrency=2
    )
    off = service.webhook("https://example.com/off", headers={"X-Token": "x"}, template='{"a": 1}')
    service.write(webhooks.disable, off.id, clock.now())
    for action, detail in _AUDITED:
        service.write(audit.note, action, actor="the service", now=clock.now(), project_id="proj_1", detail=detail)
    for actor in ("operator", "user ada", "user ada as root", "Ada (link)", "ci (API token)", "link to proj_1"):
        service.write(audit.note, "webhook.created", actor=actor, now=clock.now(), project_id="proj_1")
    (event,) = service.insert()
    await service.until(lambda: service.log(webhook_id=good.id, state="succeeded"))
    receiver.answer = _fail
    service.insert({"a": 1}, kind="lead.created")
    await service.until(lambda: any(row["status"] == "503" for row in service.log(webhook_id=good.id)))
    (done,) = service.log(webhook_id=good.id, state="succeeded")
    failing = next(row for row in service.log(webhook_id=good.id) if row["state"] != "succeeded")
    return {
        "good": good.id,
        "other": other.id,
        "off": off.id,
        "event": event,
        "done": done["delivery_id"],
        "failing": failing["delivery_id"],
    }


_AT = "2026-01-31T09:00:00.000Z"
# What the audit trail says beside each action, as rows have it; of the others nothing, or an id or a name.
_AUDITED = (
    *((action, "") for action in AUDITED_ACTIONS),
    ("webhook.updated", ", ".join(versions.SETTINGS)),
    ("webhook.enabled", "3 held deliveries discarded"),
    ("webhook.enabled", "held deliveries discarded"),
    ("webhook.disabled", f"nothing but failures since {_AT}, the last one: no answer"),
    (
        "webhook.disabled",
        "It is disabled there. Its body is 80 there; here it is application/json. "
        "Its filter has objects that are nested too deeply, which no condition says here; write a filter, and enable it.",
    ),
    ("secret.rotated", f"switch at {_AT}"),
    ("secret.switched", f"switch at {_AT}"),
    ("portal_link.created", f"until {_AT}"),
    ("portal_link.created", f"until {_AT}, to look only"),
    ("portal_link.created", f"until {_AT}, to look only, for Ada"),
    ("portal_link.created", f"until {_AT}, for Ada"),
    ("portal_link.created", f"until {_AT}, for Ana, for ACME"),
    ("session.started", "may look and change nothing"),
    ("session.ended", "of Ada (link)"),
    ("session.ended", "of project admin"),
    ("event.erased", "3 events, by id"),
    ("event.erased", "2 rejected rows of the outbox, by a search"),
    ("backup.created", "4096 bytes"),
    ("key.rotated", "3 webhooks sealed with the key k2"),
    ("key.rotated", "3 webhooks no longer sealed"),
)
_PATHS = (
    "/webhooks", "/webhooks?state=failing&text=zzz", "/webhooks?page=9", "/webhooks/new", "/webhooks/{good}", "/webhooks/{off}",
    "/webhooks/{other}", "/webhooks/{good}/deliveries", "/webhooks/{other}/edit", "/webhooks/{off}/enable",
    "/webhooks/{good}/delete", "/webhooks/{good}/rotate-secret", "/webhooks/{good}/replay",
    "/webhooks/{good}/replay?since=24h", "/deliveries", "/deliveries?count=1", "/deliveries?state=succeeded&status=5xx",
    "/deliveries?text=zzz", "/deliveries?since=tomorrow", "/deliveries/{done}", "/deliveries/{failing}", "/resends",
    "/resends/new?since=24h", "/events", "/events?event_type=lead.creatd", "/events/{event}", "/rejected", "/event-types",
    "/activity?span=7d", "/activity?span=30d", "/audit", "/audit?action=zzz", "/tokens", "/webhooks/wh_none", "/nowhere",
    "/webhooks?done=saved", "/deliveries?done=resent-some&n=2&left=1",
)  # fmt: skip


@pytest.mark.long
async def test_no_page_has_a_text_that_no_catalogue_can_have(pages: Pages, filled: dict[str, str]) -> None:
    """Of templates, of the code, and of rules: what stands outside of brackets is somebody's own."""
    wrong: list[str] = []
    for project in ("proj_1", None):
        headers = {**pages.cookie(project), "Accept-Language": CODE}
        for path in _PATHS if project else (*_PATHS[:2], "/sessions", "/activity", "/webhooks/new"):
            async with pages.client.get(path.format(**filled), headers=headers) as answer:
                page = await answer.text()
            assert f'<html lang="{CODE}">' in page, path
            wrong += [f"{path}: {text}" for text in untranslated(page)]
    assert "\n".join(wrong) == ""


async def _erase(pages: Pages, event: str) -> None:
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    path = f"/api/v1/events/{event}/erase"
    async with pages.client.post(path, json={"project_id": "proj_1"}, headers=headers) as answer:
        assert answer.status == 202


async def test_no_refusal_has_a_text_that_no_catalogue_can_have(pages: Pages, filled: dict[str, str]) -> None:
    """What a form is answered with: errors, fields that do not fit, and what somebody else changed meanwhile."""
    new = {"url": "https://example.com/new", "events": "*"}
    filtered = {**new, "filter": "1", "filter_field": "data.x"}
    stale = "-".join("0" * len(versions.of_settings(pages.service.read(webhooks.get, filled["good"])).split("-")))
    asked: tuple[tuple[str, object, int], ...] = (
        ("/webhooks/new", {}, 405),
        ("/webhooks", [("url", "a"), ("url", "b")], 400),
        ("/webhooks", io.BytesIO(b"x" * (MAX_BODY + 1)), 413),
        ("/webhooks", {"url": "http://example.com/", "events": "leads.*", "secret_kind": "own", "secret": "short"}, 422),
        *(("/webhooks", {**filtered, "filter_op": op, "filter_value": ""}, 422) for op in OPERATORS if op not in WITHOUT_VALUE),
        *(("/webhooks", {**filtered, "filter_op": op, "filter_value": "[1]"}, 422) for op in (">", "contains", "ends with")),
        ("/webhooks", {**filtered, "filter_op": "exists", "filter_value": "1"}, 422),
        ("/webhooks/preview", {**filtered, "filter_op": "not in", "filter_value": "1"}, 200),
        (f"/webhooks/{filled['good']}/edit", {**new, "version": stale}, 412),
        (f"/webhooks/{filled['other']}/edit", {**new, "version": stale}, 412),
        (f"/deliveries/{filled['done']}/resend", {}, 409),
        ("/sessions/ses_1/end", {}, 403),
        ("/deliveries/dlv_none/resend", {}, 404),
        ("/resends/rsd_none/cancel", {}, 404),
        ("/tokens/ptk_none/revoke", {}, 404),
    )  # fmt: skip
    await _erase(pages, filled["event"])
    wrong: list[str] = []
    for path, form, status in asked:
        headers = {**pages.cookie("proj_1"), "Accept-Language": CODE}
        if isinstance(form, io.BytesIO):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        async with pages.client.post(path, data=form, headers=headers, allow_redirects=False) as answer:
            page = await answer.text()
        assert answer.status == status, (path, form)
        wrong += [f"{path}: {text}" for text in untranslated(page)]
    assert "\n".join(wrong) == ""


async def test_no_page_of_what_was_done_has_a_text_that_no_catalogue_can_have(
    pages: Pages, filled: dict[str, str]
) -> None:
    """A form's answer, or the page that it leads to."""
    good, off = filled["good"], filled["off"]
    asked: tuple[tuple[str, dict[str, str]], ...] = (
        ("/webhooks", {"url": "https://example.com/chat", "events": "*", "ready_template": "slack"}),
        (f"/webhooks/{good}/secret", {}),
        (f"/webhooks/{off}/secret", {}),
        (f"/webhooks/{good}/rotate-secret", {"switch_after": "24h"}),
        (f"/webhooks/{good}/rotate-secret", {"cancel": "1"}),
        (f"/webhooks/{good}/rotate-secret", {"switch_after": "0s"}),
        (f"/webhooks/{good}/test", {"event_type": "lead.created"}),
        (f"/webhooks/{off}/enable", {"held": "discard"}),
        (f"/webhooks/{good}/disable", {}),
        (f"/webhooks/{good}/enable", {}),
        (f"/webhooks/{good}/edit", {"url": "https://example.com/x", "events": "*", "template": "{", "rate_limit": "x"}),
        (f"/webhooks/{off}/preview", {"url": "https://example.com/x", "events": "*", "template": '{"a": "{{ data.b }}"}'}),
        ("/resends", {"state": "succeeded", "since": "1h"}),
        (f"/webhooks/{off}/replay", {"since": "1h"}),
        (f"/events/{filled['event']}/send-to", {"webhook": filled["other"]}),
        (f"/deliveries/{filled['done']}/resend", {}),
        ("/deliveries/resend", {"id": filled["done"], "back": "/deliveries"}),
        ("/tokens", {"name": "deploy"}),
        ("/tokens", {"name": "deploy"}),
        (f"/webhooks/{filled['other']}/delete", {"yes": "1"}),
    )  # fmt: skip
    headers = {**pages.cookie("proj_1"), "Accept-Language": CODE}
    wrong: list[str] = []
    for path, form in asked:
        async with pages.client.post(path, data=form, headers=headers) as answer:
            wrong += [f"{path} {answer.url.path}: {text}" for text in untranslated(await answer.text())]
    for path in ("/resends", "/audit", f"/webhooks/{good}", f"/webhooks/{off}", f"/deliveries/{filled['done']}"):
        async with pages.client.get(path, headers=headers) as answer:
            wrong += [f"{path}: {text}" for text in untranslated(await answer.text())]
    assert "\n".join(wrong) == ""


async def test_no_page_of_who_is_not_signed_in_has_a_text_that_no_catalogue_can_have(pages: Pages) -> None:
    """Signing in, links that open and links that do not, and a form that came after its session."""
    pages.service.webhook("https://example.com/in")
    link = sessions.link(pages.service, actor="deploy", read_only=True)
    reading = sessions.cookie(pages.service, "proj_1", read_only=True)
    asked: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("GET", "/sign-in", {}),
        ("POST", "/sign-in", {}),
        ("POST", "/webhooks", {}),
        ("GET", link, {}),
        ("GET", link, reading),
        ("GET", link[:-1], {}),
        ("POST", link, {}),
        ("GET", link, {}),
        ("GET", "/webhooks", reading),
        ("POST", "/webhooks", reading),
        ("GET", "/webhooks", {"Host": "elsewhere.example"}),
        ("POST", "/webhooks", {**reading, "Sec-Fetch-Site": "cross-site"}),
    )
    wrong: list[str] = []
    for method, path, more in asked:
        headers = {"Accept-Language": CODE, **more}
        async with pages.client.request(
            method, path, data={"url": "x"} if method == "POST" else None, headers=headers
        ) as answer:
            wrong += [f"{method} {path}: {text}" for text in untranslated(await answer.text())]
    assert "\n".join(wrong) == ""


async def test_no_page_of_a_frame_or_of_a_form_to_send_again_has_a_text_that_no_catalogue_can_have(
    service: Service,
) -> None:
    """Without a session, with one that is over, and after the operator has signed in again."""
    service.options["pages"] = {"frame_ancestors": ["https://app.example.com"]}
    wrong: list[str] = []
    async with aiohttp.ClientSession(await service.serve(), cookie_jar=aiohttp.DummyCookieJar()) as client:
        ended = sessions.cookie(service, "proj_1")
        service.execute("UPDATE sessions SET expires_at = '2020-01-01T00:00:00.000Z'")
        framed = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin"}
        kept = {"action": "/webhooks", "again": '[["url", "https://example.com/"], ["typed_for", ""]]'}
        asked: tuple[tuple[str, str, dict[str, str], dict[str, str], int, str], ...] = (
            ("GET", "/webhooks", framed, {}, 401, "target="),
            ("POST", "/webhooks", {**framed, **ended}, {"url": "x"}, 401, 'name="url"'),
            ("GET", sessions.link(service, actor="ci"), framed, {}, 200, "<form"),
            ("POST", "/sign-in", {}, {**kept, "token": "wrong"}, 401, 'name="again"'),
            ("POST", "/sign-in", {}, {**kept, "token": service.keys().token}, 200, 'name="typed_for"'),
        )
        for method, path, more, form, status, has in asked:
            headers = {"Accept-Language": CODE, **more}
            async with client.request(method, path, data=form or None, headers=headers) as answer:
                page = await answer.text()
            assert (answer.status, has in page) == (status, True), path
            assert f'<html lang="{CODE}">' in page, path
            wrong += [f"{method} {path}: {text}" for text in untranslated(page)]
        async with client.get(
            "/answers/" + "x" * 22, headers={**sessions.cookie(service, None), "Accept-Language": CODE}
        ) as answer:
            wrong += untranslated(await answer.text())
    assert "\n".join(wrong) == ""
