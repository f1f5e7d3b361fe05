"""Pages in a frame: for the origins that are named, in a project's session, and never an operator's."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks.model import Misconfigured
from almirant_webhooks.settings.loading import load

from ..support import sessions
from ..support.service import Service

APP = "https://app.example.com"
IN_A_FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}
OUR_OWN = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def client(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser of a daemon whose pages an application may frame."""
    service.options["pages"] = {"frame_ancestors": [APP, "http://localhost:3000"]}
    async with aiohttp.ClientSession(await service.serve(), cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield client


def _is_framed_by_nobody(answer: aiohttp.ClientResponse) -> bool:
    policy = answer.headers["Content-Security-Policy"]
    return "frame-ancestors 'none'" in policy and answer.headers["X-Frame-Options"] == "DENY"


async def _come_in(client: aiohttp.ClientSession, service: Service) -> str:
    """Use a link in a frame; return the cookie as the browser sends it."""
    async with client.post(sessions.link(service), headers=OUR_OWN, allow_redirects=False) as answer:
        assert answer.status == 303
        (cookie,) = answer.headers.getall("Set-Cookie")[:1]
    assert cookie.endswith("; HttpOnly; Secure; SameSite=None; Partitioned")
    return cookie.partition(";")[0]


async def test_a_projects_pages_and_the_link_to_them_are_framed_by_the_named_origins_alone(
    client: aiohttp.ClientSession, service: Service
) -> None:
    """An operator's pages, the form for the token, and what programs get, by nobody."""
    allowed = f"frame-ancestors {APP} http://localhost:3000"
    async with client.get(sessions.link(service), headers=IN_A_FRAME) as answer:
        assert allowed in answer.headers["Content-Security-Policy"]
        assert "X-Frame-Options" not in answer.headers
        assert "in a tab of its own" in await answer.text()
    cookie = await _come_in(client, service)
    async with client.get("/webhooks", headers={**IN_A_FRAME, "Cookie": cookie}) as answer:
        assert (answer.status, "No webhooks yet" in await answer.text()) == (200, True)
        assert allowed in answer.headers["Content-Security-Policy"]
    operator = sessions.cookie(service, None)
    for headers, path in ((operator, "/webhooks"), (operator, sessions.link(service)), ({}, "/sign-in"), ({}, "/healthz"), ({}, "/openapi.json")):  # fmt: skip
        async with client.get(path, headers=headers) as answer:
            assert _is_framed_by_nobody(answer), path


async def test_a_session_of_a_frame_changes_nothing_for_another_site(
    client: aiohttp.ClientSession, service: Service
) -> None:
    """A browser sends its cookie with a form of any site; and one that does not say where a form comes from is refused."""
    cookie = await _come_in(client, service)
    form = {"url": "https://example.com/in", "events": "*"}
    for headers, status in (
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": APP}, 403),
        ({}, 403),
        (OUR_OWN, 303),
    ):
        async with client.post(
            "/webhooks", data=form, headers={**headers, "Cookie": cookie}, allow_redirects=False
        ) as answer:
            assert answer.status == status, headers


async def test_a_frame_without_a_session_leads_to_a_tab_and_asks_for_no_token(
    client: aiohttp.ClientSession, service: Service
) -> None:
    """Where a browser keeps the cookie from it, and where the session is over; after signing out as well."""
    cookie = await _come_in(client, service)
    async with client.post("/sign-out", headers={**OUR_OWN, "Cookie": cookie}, allow_redirects=False) as answer:
        assert any(
            line.startswith("almirant_webhooks_frame=; Max-Age=0") for line in answer.headers.getall("Set-Cookie")
        )
    async with client.get("/webhooks", headers={**IN_A_FRAME, "Cookie": cookie}, allow_redirects=False) as answer:
        place = answer.headers["Location"]
    async with client.get(place, headers=IN_A_FRAME) as answer:
        text = await answer.text()
        assert (answer.status, 'target="_blank"' in text, 'name="token"' in text) == (401, True, False)
        assert f"frame-ancestors {APP}" in answer.headers["Content-Security-Policy"]


async def test_what_was_typed_in_a_frame_survives_the_end_of_its_session(
    client: aiohttp.ClientSession, service: Service
) -> None:
    """As outside of one, but for the token: the form comes back with its fields, and is sent in the session begun anew."""
    await _come_in(client, service)
    form = {"url": "https://example.com/in", "events": "lead.*", "description": '"><b>'}
    async with client.post("/webhooks", data=form, headers=OUR_OWN) as answer:
        text = await answer.text()
        assert (answer.status, 'name="token"' in text, "I am signed in again: send it" in text) == (401, False, True)
        assert f"frame-ancestors {APP}" in answer.headers["Content-Security-Policy"]
    assert 'action="/webhooks"' in text
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text.split("</main>")[0]))
    kept = {name: html.unescape(value) for name, value in fields.items()}
    assert kept == form
    headers = {**OUR_OWN, "Cookie": await _come_in(client, service)}
    async with client.post("/webhooks", data=kept, headers=headers, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"].startswith("/webhooks/wh_")) == (303, True)


async def test_without_the_setting_nothing_is_framed(service: Service) -> None:
    """And a cookie of a frame opens nothing."""
    async with aiohttp.ClientSession(await service.serve(), cookie_jar=aiohttp.DummyCookieJar()) as client:
        async with client.post(sessions.link(service), headers=OUR_OWN, allow_redirects=False) as answer:
            (cookie,) = answer.headers.getall("Set-Cookie")[:1]
            assert "SameSite=Lax" in cookie
            assert _is_framed_by_nobody(answer)
        value = cookie.partition(";")[0].partition("=")[2]
        headers = {**IN_A_FRAME, "Cookie": f"almirant_webhooks_frame={value}"}
        async with client.get("/webhooks", headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303


@pytest.mark.parametrize(
    "origin",
    [
        "http://app.example.com", "https://app.example.com/path", "https://*.example.com", "*", "app.example.com",
        "https://app.example.com; script-src *", "https://a@app.example.com", "https://app.example.com:0", "https://",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin: str, tmp_path: Path) -> None:
    """With the key and how to write one; nothing of it gets into a header."""
    config = tmp_path / "config.toml"
    config.write_text(f'[pages]\nframe_ancestors = ["{origin}"]\n', encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"pages\.frame_ancestors") as refused:
        load(str(config))
    assert "https://HOST" in str(refused.value)
