"""Links that are used once, and the sessions that they begin."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.rules import links, principals
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit
from almirant_webhooks.storage.sqlite.upkeep_store import SqlitePruningStore
from almirant_webhooks.upkeep.pruner import SESSIONS_KEPT
from almirant_webhooks.web.sessions import COOKIE

from ..conftest import Receiver
from ..support import sessions
from ..support.service import Service
from ..support.shell import Shell
from .test_pages import ROUTES, Pages, pages

__all__ = ["pages"]


async def _ask(
    pages: Pages,
    method: str,
    path: str,
    cookies: str = "",
    data: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, str, str, dict[str, str]]:
    """Return the status, where the answer leads, its text, and the cookies that it sets."""
    sent = {**(headers or {}), **({"Cookie": cookies} if cookies else {})}
    async with pages.client.request(method, path, data=data, headers=sent, allow_redirects=False) as answer:
        text = await answer.text()
        set_ = {name: morsel.value for name, morsel in answer.cookies.items()}
        return answer.status, answer.headers.get("Location", ""), text, set_


async def _make(pages: Pages, body: dict[str, object]) -> tuple[int, Any]:
    """Ask the API for a link, as the operator."""
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    async with pages.client.post("/api/v1/portal-links", json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def _open(pages: Pages, path: str, cookies: str = "", **form: str) -> tuple[int, str, str]:
    """Press a link's button; return the status, where it leads, and the cookie of the session."""
    status, location, _, set_ = await _ask(pages, "POST", path, cookies, form)
    return status, location, f"{COOKIE}={set_[COOKIE]}" if COOKIE in set_ else ""


def _rows(service: Service) -> list[Any]:
    return service.execute("SELECT * FROM sessions ORDER BY created_at")


def _move(service: Service, **columns: datetime) -> None:
    """Set times of all sessions."""
    for name, moment in columns.items():
        service.execute(f"UPDATE sessions SET {name} = ?", clock.text(moment))


async def test_a_link_is_used_up_by_its_button_and_not_by_looking(pages: Pages) -> None:
    """A mail scanner looks as often as it likes; whoever presses first is in, and the next one is told."""
    path = sessions.link(pages.service)
    for method in ("GET", "HEAD", "GET"):
        status, _, text, set_ = await _ask(pages, method, path)
        assert (status, COOKIE in set_) == (200, False)
        assert method == "HEAD" or f'action="{path}"' in text
    status, location, cookie = await _open(pages, path)
    assert (status, location) == (303, "/webhooks")
    assert (await _ask(pages, "GET", "/webhooks", cookie))[0] == 200
    for method in ("GET", "POST"):
        status, _, text, set_ = await _ask(pages, method, path)
        assert (status, "used already" in text, COOKIE in set_) == (403, True, False)
    # Who is in by it already presses twice, or comes by it again: they are there.
    assert (await _ask(pages, "GET", path, cookie))[:2] == (303, "/webhooks")
    assert (await _open(pages, path, cookie))[:2] == (303, "/webhooks")
    assert len(_rows(pages.service)) == 1


@pytest.mark.parametrize("of_operator", [False, True], ids=["signed out", "signed in as the operator"])
async def test_two_presses_of_one_button_begin_one_session(pages: Pages, of_operator: bool) -> None:
    """A double click spent the link, as browsers keep the second answer alone. Another look at it opens nothing."""
    before = pages.cookie(None)["Cookie"] if of_operator else ""
    path = sessions.link(pages.service)

    async def form() -> dict[str, str]:
        text = (await _ask(pages, "GET", path, before))[2]
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)">', text.partition("</main>")[0]))

    first, other = await form(), await form()
    assert first != other
    (status, location, cookie), second = await asyncio.gather(*(_open(pages, path, before, **first) for _ in range(2)))
    assert (status, location, bool(cookie)) == (303, "/webhooks", True)
    assert second == (303, "/webhooks", cookie)
    assert await _open(pages, path, before, **first) == second, "long after the first answer"
    assert (await _ask(pages, "GET", "/webhooks", cookie))[0] == 200
    assert len(_rows(pages.service)) == 1
    assert len(pages.service.read(audit.entries, AuditSelection(action="session.started", project_id="proj_1"))) == 1
    for odd in (other, {}, {"press": ""}):
        assert (await _open(pages, path, "", **odd))[::2] == (403, "")
    _move(pages.service, created_at=clock.now() - timedelta(minutes=2))
    assert (await _open(pages, path, "", **first))[::2] == (403, "")
    _move(pages.service, created_at=clock.now())
    assert (await _ask(pages, "POST", "/sign-out", cookie))[0] == 303
    assert (await _open(pages, path, "", **first))[::2] == (403, "")


async def test_a_link_that_was_changed_has_expired_or_is_of_an_older_key_opens_nothing(pages: Pages) -> None:
    """Nor one that another site presses; nothing is begun, and nothing is used up."""
    good = sessions.link(pages.service)
    for wrong in (
        good[:-1],
        f"{good}A",
        good.replace(".", "", 1),
        "/portal/a.b",
        sessions.link(pages.service, expires_in=0),
    ):
        assert "expired" in (await _ask(pages, "POST", wrong))[2], wrong
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert (await _ask(pages, "POST", good, headers=headers))[0] == 403
    assert _rows(pages.service) == []
    await pages.service.rotate_token()
    assert (await _ask(pages, "POST", good))[0] == 403


async def test_the_cookie_is_random_and_new_each_time_and_its_digest_is_what_is_kept(pages: Pages) -> None:
    """One that somebody else put into the browser before is never taken over (fixation)."""
    planted = f"{COOKIE}=planted-by-somebody"
    _, _, cookie = await _open(pages, sessions.link(pages.service), planted)
    _, _, other = await _open(pages, sessions.link(pages.service))
    assert len({cookie, other, planted}) == 3
    text = cookie.partition("=")[2]
    assert len(text) >= 43
    assert (await _ask(pages, "GET", "/webhooks", planted))[1] == "/sign-in?next=/webhooks"
    dump = pages.service.dump()
    assert text not in dump
    assert principals.digest(text) in dump


async def test_an_operators_session_is_replaced_only_if_that_was_asked(pages: Pages) -> None:
    """So is one of another project; the one that is left opens nothing any more."""
    _, _, _, set_ = await _ask(pages, "POST", "/sign-in", data={"token": pages.service.keys().token})
    operator = f"{COOKIE}={set_[COOKIE]}"
    path = sessions.link(pages.service)
    status, _, text, _ = await _ask(pages, "GET", path, operator)
    assert (status, "signed in as the operator" in text, 'name="replace"' in text) == (200, True, True)
    status, _, cookie = await _open(pages, path, operator)
    assert (status, cookie) == (409, "")
    assert (await _ask(pages, "GET", "/sessions", operator))[0] == 200
    status, _, cookie = await _open(pages, path, operator, replace="1")
    assert status == 303
    assert (await _ask(pages, "GET", "/webhooks", operator))[0] == 303
    other = sessions.link(pages.service, "proj_2")
    assert "for the project <bdi>proj_1</bdi>" in (await _ask(pages, "GET", other, cookie))[2]
    assert (await _open(pages, other, cookie))[0] == 409


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example", "/\\evil.example", "https://evil.example/webhooks", "/webhooks/../portal/x", "/webhooks/%2e%2e/x",
        "/portal/a.b", "/sign-out", "/api/v1/webhooks/wh_1/secret", "/webhooks\r\nSet-Cookie: a=b", "/webhooks /x", "/webhooksx",
        "webhooks", "", "/", "/webhooks?" + "x" * 2000, "/webhooks/é", "javascript:alert(1)", "/sessions",
    ],
)  # fmt: skip
def test_a_link_leads_to_a_page_of_its_project_and_nowhere_else(path: str) -> None:
    """Not to another site, another link, or what changes something."""
    with pytest.raises(Refused, match="leads to a page of its project"):
        links.check_next(path)


async def test_a_link_leads_where_it_says_or_where_its_opener_wanted_to_go(pages: Pages) -> None:
    """A page that was asked for without a session is where the next link leads; what the link says goes first."""
    wanted = "/deliveries?state=failed&webhook=wh_1"
    status, location, _, _ = await _ask(pages, "GET", wanted)
    assert (status, unquote(location)) == (303, f"/sign-in?next={wanted}")
    _, _, _, set_ = await _ask(pages, "GET", location)
    (name,) = set_
    jar = f"{name}={set_[name]}"
    assert (await _open(pages, sessions.link(pages.service), jar))[1] == wanted
    leading = sessions.link(pages.service, next="/events?type=lead.*")
    assert (await _open(pages, leading, jar))[1] == "/events?type=lead.*"
    for hostile in ("//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y"):
        assert (await _open(pages, sessions.link(pages.service), f"{name}={quote(hostile, safe='')}"))[1] == "/webhooks"
        assert (await _ask(pages, "GET", f"/sign-in?next={quote(hostile, safe='')}"))[3] == {}


async def test_who_a_link_is_for_is_in_the_audit_trail_and_cannot_pass_for_somebody_else(
    pages: Pages,
) -> None:
    """A name from a link is always marked as one; one that could hide itself is refused."""
    made = sessions.link(pages.service, actor="operator")
    _, _, cookie = await _open(pages, made)
    webhook = pages.service.webhook("https://example.com/in")
    assert (await _ask(pages, "POST", f"/webhooks/{webhook.id}/disable", cookie))[0] == 303
    entries = pages.service.read(audit.entries, AuditSelection(project_id="proj_1"))
    assert [(entry["action"], entry["actor"]) for entry in entries[:1]] == [("webhook.disabled", "operator (link)")]
    for name in ("", " ", "a\nb", "a\u202eb", "x" * 101, "\x07"):
        status, problem = await _make(pages, {"project_id": "proj_1", "actor": name})
        assert (status, problem["field"]) == (422, "actor"), repr(name)
    full: dict[str, object] = {"project_id": "proj_1", "actor": "María", "read_only": True, "next": "/deliveries"}
    status, answer = await _make(pages, full)
    link = links.read(pages.service.keys().signing_key, answer["url"].rpartition("/")[2], 0)
    assert link is not None
    assert link[2:] == ("María", True, "/deliveries")


async def test_a_session_lasts_by_use_and_a_day_at_most(pages: Pages) -> None:
    """A use within five minutes of the last renewal writes nothing, nor does a page that refreshes itself."""
    cookie = pages.cookie("proj_1")["Cookie"]
    (row,) = _rows(pages.service)
    assert clock.parse(row["expires_at"]) - clock.parse(row["created_at"]) == principals.SESSION_LASTS
    assert clock.parse(row["ends_at"]) - clock.parse(row["created_at"]) == principals.SESSION_ENDS
    now = clock.now()
    await _ask(pages, "GET", "/webhooks", cookie)
    assert _rows(pages.service)[0]["expires_at"] == row["expires_at"]
    soon = now + timedelta(minutes=3)
    _move(pages.service, expires_at=soon)
    await _ask(pages, "GET", "/webhooks", cookie, headers={"X-Live": "1"})
    assert _rows(pages.service)[0]["expires_at"] == clock.text(soon)
    _, _, text, _ = await _ask(pages, "GET", "/webhooks", cookie)
    assert clock.parse(_rows(pages.service)[0]["expires_at"]) >= now + principals.SESSION_LASTS
    assert f'data-ends="{_rows(pages.service)[0]["expires_at"]}"' in text, "it warns of no end that is over"
    _move(pages.service, expires_at=soon, ends_at=soon)
    await _ask(pages, "GET", "/webhooks", cookie)
    assert _rows(pages.service)[0]["expires_at"] == clock.text(soon)
    _move(pages.service, expires_at=now)
    assert (await _ask(pages, "GET", "/webhooks", cookie))[0] == 303
    assert (await _ask(pages, "POST", "/session/renew", cookie))[2] == '{"ends_at": null}'


async def test_an_open_page_asks_when_its_session_ends_and_makes_it_last_no_longer(pages: Pages) -> None:
    """It knew that from when it was loaded, and said that a session had ended which another tab went on with."""
    cookie = pages.cookie("proj_1")["Cookie"]
    for ends in (timedelta(minutes=3), timedelta(minutes=6)):
        moment = clock.now() + ends
        _move(pages.service, expires_at=moment)
        status, _, text, _ = await _ask(pages, "GET", "/session", cookie)
        assert (status, text) == (200, f'{{"ends_at": "{clock.text(moment)}"}}')
        assert _rows(pages.service)[0]["expires_at"] == clock.text(moment)
    _move(pages.service, expires_at=clock.now())
    assert (await _ask(pages, "GET", "/session", cookie))[2] == '{"ends_at": null}'
    assert (await _ask(pages, "GET", "/session", ""))[2] == '{"ends_at": null}'


async def test_a_session_that_is_warned_goes_on_at_a_button(pages: Pages) -> None:
    """The page has its end, and the answer the new one."""
    cookie = pages.cookie("proj_1")["Cookie"]
    _move(pages.service, expires_at=clock.now() + timedelta(minutes=3))
    _, _, text, _ = await _ask(pages, "GET", "/webhooks", cookie, headers={"X-Live": "1"})
    assert f'data-ends="{_rows(pages.service)[0]["expires_at"]}"' in text
    _, _, text, _ = await _ask(pages, "POST", "/session/renew", cookie)
    assert f'"{_rows(pages.service)[0]["expires_at"]}"' in text


async def test_what_was_typed_survives_signing_in_again(pages: Pages) -> None:
    """A form that meets no session comes back with all its fields, and is sent once more in the new session."""
    cookie = pages.cookie("proj_1")["Cookie"]
    _move(pages.service, expires_at=clock.now())
    form = {"url": "https://example.com/in", "events": "lead.*", "description": '"><b>', "secret_kind": "generated"}
    status, _, text, _ = await _ask(pages, "POST", "/webhooks", cookie, form)
    assert status == 401
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text.split("</form>")[0]))
    kept = {name: unescape(value) for name, value in fields.items()}
    assert kept == {**form, "typed_for": "proj_1"}
    _, _, fresh = await _open(pages, sessions.link(pages.service))
    status, location, _, _ = await _ask(pages, "POST", "/webhooks", fresh, kept)
    assert (status, location.startswith("/webhooks/wh_")) == (303, True)
    _, _, other = await _open(pages, sessions.link(pages.service, "proj_2"))
    status, _, text, _ = await _ask(pages, "POST", "/webhooks", other, kept)
    assert (status, "typed for the project proj_1" in text) == (409, True)


async def test_an_operator_signs_in_again_beside_what_was_typed(pages: Pages) -> None:
    """By the token on that very page; a wrong one keeps it too."""
    form = {"project_id": "p", "url": "https://example.com/in", "events": "*"}
    _, _, text, _ = await _ask(pages, "POST", "/webhooks", "", form)
    action, again = (re.findall(rf'name="{name}" value="([^"]*)"', text)[0] for name in ("action", "again"))
    sent = {"action": unescape(action), "again": unescape(again), "token": "wrong"}
    status, _, text, _ = await _ask(pages, "POST", "/sign-in", "", sent)
    assert (status, again in text) == (401, True)
    status, _, text, set_ = await _ask(pages, "POST", "/sign-in", "", {**sent, "token": pages.service.keys().token})
    assert (status, 'action="/webhooks"' in text, 'value="https://example.com/in"' in text) == (200, True, True)
    assert (await _ask(pages, "POST", "/webhooks", f"{COOKIE}={set_[COOKIE]}", form))[0] == 303
    for odd in ("[", "{}", '[["a"]]', "[[1, 2, 3]]"):
        sent = {"token": pages.service.keys().token, "again": odd, "action": "//evil.example"}
        assert (await _ask(pages, "POST", "/sign-in", "", sent))[1] == "/webhooks"


async def test_a_read_only_session_looks_at_everything_and_changes_nothing(pages: Pages, receiver: Receiver) -> None:
    """Whatever the route: a change is refused in words, and by the API as well. Looking goes on."""
    cookie = sessions.cookie(pages.service, "proj_1", read_only=True)["Cookie"]
    webhook = pages.service.webhook(receiver.url)
    (event,) = pages.service.insert({"wi": "<form method=post>"})
    await pages.service.until(lambda: pages.service.log(state="succeeded"))
    delivery = pages.service.log()[0]["delivery_id"]
    for method, canonical in ROUTES:
        path = canonical.replace("{id}", webhook.id if "/webhooks/" in canonical else "x")
        if method in ("POST", "PATCH", "DELETE") and not canonical.startswith(
            ("/sign-", "/portal", "/session/", "/language")
        ):
            status, _, text, _ = await _ask(pages, method, path, cookie)
            known = "lets you look and change nothing" in text or "not for a project admin" in text
            assert (status, known) in ((403, True), (404, False)), (method, path)
    for path in (f"/webhooks/{webhook.id}/edit", "/webhooks/new", f"/api/v1/webhooks/{webhook.id}/secret"):
        assert (await _ask(pages, "GET", path, cookie))[0] == 403, path
    for path in (
        "/webhooks",
        f"/webhooks/{webhook.id}",
        "/deliveries",
        "/events",
        "/audit",
        "/tokens",
        "/resends",
        f"/deliveries/{delivery}",
        f"/events/{event}",
    ):
        assert (await _ask(pages, "GET", path, cookie))[0] == 200, path
        text = (await _ask(pages, "GET", path, cookie))[2]
        assert re.findall(r'method="post" action="([^"]*)"', text) == ["/sign-out", "/language"], path
        assert re.findall(r'href="[^"]*/(?:new|edit|delete|replay|rotate-secret|revoke|end|cancel)\b', text) == [], path
    assert (await _ask(pages, "GET", f"/api/v1/webhooks/{webhook.id}", cookie))[0] == 200
    assert (await _ask(pages, "POST", "/sign-out", cookie))[1] == "/sign-in"
    assert (await _ask(pages, "GET", "/webhooks", cookie))[0] == 303


async def test_the_operator_lists_and_ends_sessions(pages: Pages) -> None:
    """From that moment on its cookie opens nothing; a project's admin sees and ends none."""
    cookie = sessions.cookie(pages.service, "proj_1", actor="maria")["Cookie"]
    text = await pages.get("/sessions", None)
    assert "maria" in text
    (row,) = [row for row in _rows(pages.service) if row["project_id"]]
    assert (await _ask(pages, "GET", "/sessions", cookie))[0] == 403
    assert (await _ask(pages, "POST", f"/sessions/{row['id']}/end", cookie))[0] == 403
    assert (f'href="/sessions/{row["id"]}/end"' in text, 'action="/sessions' in text) == (True, False)
    asked = await pages.get(f"/sessions/{row['id']}/end", None)
    assert f'It has run since <time datetime="{row["created_at"]}"' in asked
    assert "End the session of maria" in asked
    assert (await _ask(pages, "GET", "/webhooks", cookie))[0] == 200, "asking ends nothing"
    await pages.get("/sessions/ses_none/end", None, 404)
    assert (await pages.post(f"/sessions/{row['id']}/end", None))[:2] == (303, "/sessions?done=ended")
    assert (await _ask(pages, "GET", "/webhooks", cookie))[0] == 303
    assert (await pages.post(f"/sessions/{row['id']}/end", None))[0] == 404
    (entry, *_) = pages.service.read(audit.entries, AuditSelection(action="session.ended"))
    assert (entry["actor"], entry["detail"]) == ("operator", "of maria (link)")


async def test_a_new_operators_token_ends_every_session(pages: Pages) -> None:
    """And none of them is listed any more."""
    cookie = pages.cookie("proj_1")["Cookie"]
    await pages.service.rotate_token()
    assert (await _ask(pages, "GET", "/webhooks", cookie))[0] == 303
    async with pages.client.post("/sign-in", data={"token": pages.service.keys().token}) as answer:
        assert answer.status == 200
    fresh = sessions.cookie(pages.service, None)["Cookie"]
    assert "proj_1" not in (await _ask(pages, "GET", "/sessions", fresh))[2]


async def test_old_sessions_and_used_links_are_pruned(pages: Pages) -> None:
    """A day after their end: a form that came late could say whose it was."""
    await _open(pages, sessions.link(pages.service))
    store = SqlitePruningStore()
    for later, left in ((timedelta(), 1), (principals.SESSION_LASTS + SESSIONS_KEPT, 0)):
        walk = store.sessions(clock.now() + later - SESSIONS_KEPT)
        while pages.service.write(walk.step, 10):
            pass
        counts = [pages.service.execute(f"SELECT count(*) FROM {table}")[0][0] for table in ("sessions", "used_links")]
        assert counts == [left, left]


def test_the_command_makes_a_link_for_somebody_to_somewhere(shell: Shell) -> None:
    """A quarter of an hour unless it is told; a page of another place is refused."""
    shell.config.write_text(shell.config.read_text().replace('listen = ""', 'listen = "127.0.0.1:8420"'))
    words = ("portal-link", "proj_1", "--actor", "maria", "--read-only", "--next", "/deliveries?state=failed")
    assert re.fullmatch(r"http://127\.0\.0\.1:8420/portal/[\w.-]+\n", shell.ours(*words))
    assert "leads to a page" in shell.ours("portal-link", "proj_1", "--next", "https://evil.example", code=1)
    assert "can be seen" in shell.ours("portal-link", "proj_1", "--actor", "\u202e", code=1)
    assert ", to look only, for maria" in shell.ours("audit", "--project", "proj_1")


async def test_a_cookie_that_is_none_is_nobodys(pages: Pages) -> None:
    """Whatever is in it."""
    for odd in ("", "é", "a" * 5000, "x; y", '"', "ses_1", "%00"):
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client:
            address = str(pages.client._base_url).rstrip("/")
            async with client.get(
                f"{address}/webhooks", headers={"Cookie": f"{COOKIE}={odd}"}, allow_redirects=False
            ) as answer:
                assert answer.status in (303, 400), odd
