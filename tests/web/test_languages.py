"""Whose language the pages speak: a choice at their foot, then the settings, then the browser's; English is left."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from almirant_webhooks.model import Misconfigured
from almirant_webhooks.rules.languages import preferred
from almirant_webhooks.rules.texts import Text, plural
from almirant_webhooks.settings.loading import load
from almirant_webhooks.web.pages.languages import language

from ..conftest import Receiver
from ..support.service import Service
from .test_pages import HOSTILE, Pages, pages

__all__ = ["pages"]

SPANISH = {"Accept-Language": "es-MX,es;q=0.9,en;q=0.8"}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("es", "es"),
        ("ES-419", "es"),
        ("de, es;q=0.5", "es"),
        ("en;q=0.5, es;q=0.7", "es"),
        ("en, es", "en"),
        ("es;q=0, en;q=0.1", "en"),
        ("es;q=0", "en"),
        ("fr-CA, *;q=0.5", "en"),
        ("es;q=2", "en"),
        ("es;q=x, ,;;;,\x00", "en"),
        ("x," * 10_000 + "es", "en"),
        ("español", "en"),
    ],
)
def test_a_browser_gets_the_language_that_it_asks_for_most(header: str, code: str) -> None:
    """Of those that there are; what cannot be read is passed over."""
    assert preferred(header) == code


async def _language(pages: Pages, **headers: str) -> str:
    async with pages.client.get("/webhooks", headers={**pages.cookie("proj_1"), **headers}) as answer:
        found = re.search(r'<html lang="(\w+)">', await answer.text())
    assert found is not None
    assert answer.headers["Content-Language"] == found[1]
    return found[1]


async def test_the_page_says_which_language_it_is_in(pages: Pages) -> None:
    """For screen readers, and for translators in a browser."""
    assert await _language(pages) == "en"
    assert await _language(pages, **SPANISH) == "es"


async def test_a_page_in_english_reads_no_catalogue(pages: Pages) -> None:
    """Its foot names the other languages; who reads none of them does not wait for them."""
    language.cache_clear()
    assert ">Español</button>" in await pages.get("/webhooks")
    assert language.cache_info().currsize == 1


async def _choose(pages: Pages, code: str, back: str, project: str | None = "proj_1") -> aiohttp.ClientResponse:
    form = {"language": code, "back": back}
    return await pages.client.post("/language", data=form, headers=pages.cookie(project), allow_redirects=False)


async def test_a_choice_at_the_foot_goes_before_the_browsers_language(pages: Pages) -> None:
    """It leads back to the page, needs no JavaScript, and stays in the browser for a year."""
    foot = (await pages.get("/deliveries?state=failed")).partition("<footer")[2]
    assert '<button class="link" name="language" value="es" lang="es">Español</button>' in foot
    assert 'name="back" value="/deliveries?state=failed"' in foot
    answer = await _choose(pages, "es", "/deliveries?state=failed")
    assert (answer.status, answer.headers["Location"]) == (303, "/deliveries?state=failed")
    cookie = answer.cookies["almirant_webhooks_language"]
    assert (cookie.value, cookie["samesite"], cookie["httponly"]) == ("es", "Lax", True)
    assert int(cookie["max-age"]) > 365 * 86400
    chosen = pages.cookie("proj_1")["Cookie"] + "; almirant_webhooks_language=es"
    assert await _language(pages, Cookie=chosen, **{"Accept-Language": "en"}) == "es"


@pytest.mark.parametrize(
    ("code", "back"), [("xx", "/webhooks"), (HOSTILE, "//evil.example/"), ("es", "https://evil.example")]
)
async def test_a_choice_that_is_none_changes_nothing_and_nobody_is_led_elsewhere(
    pages: Pages, code: str, back: str
) -> None:
    """A cookie of somebody's own making neither."""
    answer = await _choose(pages, code, back)
    assert (answer.status, answer.headers["Location"]) == (303, "/webhooks")
    assert ("almirant_webhooks_language" in answer.cookies) == (code == "es")
    chosen = pages.cookie("proj_1")["Cookie"] + '; almirant_webhooks_language="<script>"'
    assert await _language(pages, Cookie=chosen) == "en"


async def test_another_site_cannot_choose_for_somebody(pages: Pages) -> None:
    """As it can send no other form."""
    headers = {**pages.cookie("proj_1"), "Sec-Fetch-Site": "cross-site"}
    async with pages.client.post("/language", data={"language": "es"}, headers=headers) as answer:
        assert answer.status == 403
    assert not answer.cookies


async def test_who_is_not_signed_in_chooses_too(pages: Pages) -> None:
    """The first page that anybody sees is the one to sign in."""
    async with pages.client.get("/sign-in", headers=SPANISH) as answer:
        page = await answer.text()
    assert "<h1>Iniciar sesión</h1>" in page
    async with pages.client.post(
        "/language", data={"language": "en", "back": "/sign-in"}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/sign-in")


async def test_a_choice_on_the_answer_to_a_form_leads_to_where_the_form_was(pages: Pages) -> None:
    """Or to what the form was about: the answer itself is at no address. What leads there is a page."""
    webhook = pages.service.webhook("https://example.com/in")
    of_it = f"/webhooks/{webhook.id}"
    for path, form, status, place in (
        ("/webhooks", {"url": "http://example.com"}, 422, "/webhooks/new"),
        ("/webhooks/preview", {"url": "http://example.com"}, 422, "/webhooks/new"),
        (f"{of_it}/edit", {"url": "http://example.com"}, 422, f"{of_it}/edit"),
        (f"{of_it}/preview", {"url": "http://example.com"}, 422, f"{of_it}/edit"),
        (f"{of_it}/rotate-secret", {"secret": "short"}, 422, f"{of_it}/rotate-secret"),
        (f"{of_it}/replay", {"since": "never"}, 422, f"{of_it}/replay"),
        (f"{of_it}/secret", {}, 200, of_it),
        (f"{of_it}/test", {"event": "no type"}, 422, of_it),
        ("/deliveries/resend", {"id": "dlv_none"}, 404, "/deliveries"),
        ("/resends", {"state": "nonsense"}, 422, "/resends/new"),
        ("/tokens", {"name": "CI"}, 200, "/tokens"),
    ):
        answered, _, text = await pages.post(path, **form)
        assert (path, answered) == (path, status)
        assert (path, re.findall(r'name="back" value="([^"]*)"', text.partition("<footer")[2])) == (path, [place])
        await pages.get(place)


@asynccontextmanager
async def _configured(service: Service, code: str) -> AsyncIterator[aiohttp.ClientSession]:
    service.options["pages"] = {"language": code}
    async with aiohttp.ClientSession(await service.serve()) as client:
        yield client


async def test_the_settings_go_before_the_browser_and_behind_a_choice(service: Service) -> None:
    """`pages.language`, for an application that is in one language itself."""
    async with _configured(service, "es") as client:
        for headers, code in (
            ({}, "es"),
            ({"Accept-Language": "en"}, "es"),
            ({"Cookie": "almirant_webhooks_language=en", **SPANISH}, "en"),
        ):
            async with client.get("/sign-in", headers=headers) as answer:
                assert f'<html lang="{code}">' in await answer.text()


def test_a_language_that_there_is_not_is_refused_with_its_key(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """And with those that there are."""
    config = tmp_path / "config.toml"
    config.write_text('[pages]\nlanguage = "xx"\n', encoding="utf-8")
    with pytest.raises(Misconfigured, match=r"pages\.language") as refused:
        load(config)
    assert "en, es" in str(refused.value)


async def test_a_page_in_one_language_is_never_taken_for_that_in_another(pages: Pages) -> None:
    """Neither by a cache nor by a look of the page itself, even where its words are the same."""
    marks = {}
    for code in ("en", "es"):
        headers = {**pages.cookie("proj_1"), "Accept-Language": code}
        async with pages.client.get("/deliveries", headers=headers) as answer:
            assert answer.headers["Vary"] == "Accept-Language, Cookie"
            marks[code] = answer.headers["ETag"]
    assert marks["en"] != marks["es"]
    look = {**pages.cookie("proj_1"), "X-Live": "1", "If-None-Match": marks["en"]}
    async with pages.client.get("/deliveries", headers={**look, "Accept-Language": "en"}) as answer:
        assert (answer.status, answer.headers["Vary"]) == (304, "Accept-Language, Cookie")
    async with pages.client.get("/deliveries", headers={**look, "Accept-Language": "es"}) as answer:
        assert answer.status == 200


async def test_programs_get_english_whatever_their_language(pages: Pages) -> None:
    """The API's words are part of it; a page says the same sentence in its own language."""
    headers = {"Authorization": f"Bearer {pages.service.keys().token}", **SPANISH}
    async with pages.client.get("/api/v1/deliveries/dlv_none", headers=headers) as answer:
        assert (await answer.json())["detail"] == "There is no delivery dlv_none."
    async with pages.client.get("/deliveries/dlv_none", headers={**pages.cookie("proj_1"), **SPANISH}) as answer:
        assert "No existe la entrega dlv_none." in await answer.text()


async def test_a_refusal_is_said_beside_its_field_in_the_language_of_the_form(pages: Pages) -> None:
    """With the values that it was about, as they were typed."""
    form = {"url": "http://example.com/", "events": "lead.creatd", "description": HOSTILE}
    async with pages.client.post("/webhooks", data=form, headers={**pages.cookie("proj_1"), **SPANISH}) as answer:
        page = await answer.text()
    assert "Esta URL no se puede usar: debe empezar por https://." in page
    assert "&#39;lead.creatd&#39; no encaja con ningún tipo de evento. ¿Quizá &#39;lead.created&#39;?" in page
    assert "hay que revisar 3 campos" in page
    assert "<img src=x" not in page


def test_spanish_joins_no_article_to_a_preposition_by_mistake() -> None:
    """What names somebody begins with an article: `de el operador` is no Spanish."""
    typed_for = Text(
        "This was typed for {whose}, and you are signed in for {other} now. Nothing was changed.",
        whose=Text("the operator"),
        other=Text("the project {project}", project="proj_1"),
    )
    said = language("es").text(typed_for)
    assert "el operador" in said
    assert "el proyecto proj_1" in said
    assert not re.search(r"\b(?:a|de) el\b", said)


async def _fail(request: web.Request) -> web.Response:
    return web.json_response({"error": "Failed <b>and</b> saved"}, status=500)


async def test_what_became_of_a_delivery_is_told_in_spanish_and_what_others_wrote_as_they_wrote_it(
    pages: Pages, receiver: Receiver
) -> None:
    """The receiver's answer, the payload and the names of things are nobody's to translate."""
    receiver.answer = _fail
    webhook = pages.service.webhook(receiver.url)
    pages.service.insert({"note": "Delivered."})
    await pages.service.until(lambda: any(row["attempts"] == 1 for row in pages.service.log()))
    (row,) = pages.service.log()
    async with pages.client.get(
        f"/deliveries/{row['delivery_id']}", headers={**pages.cookie("proj_1"), **SPANISH}
    ) as answer:
        page = await answer.text()
    assert re.search(r"El intento 1 de 5 falló: \S+ respondió 500: Failed &lt;b&gt;and&lt;/b&gt; saved\.", page)
    assert re.search(r"El próximo intento \(2 de 5\) está previsto para <time datetime=", page)
    assert "Delivered." in page
    async with pages.client.get(f"/webhooks/{webhook.id}", headers={**pages.cookie("proj_1"), **SPANISH}) as answer:
        assert "El último intento falló." in await answer.text()


def test_numbers_are_written_as_the_language_has_them() -> None:
    """A comma before decimals, a thin space between thousands."""
    spanish = language("es")
    assert spanish.text(Text("{number:.2f} s", number=1.25)) == "1,25 s"
    assert spanish.text(plural("Given up after {number:,} attempt: {ending}.", "Given up after {number:,} attempts: {ending}.", 1200, ending="x.y")) == "Abandonada después de 1\u202f200 intentos: x.y."  # fmt: skip
    assert language("en").text(Text("{number:.1f} KiB", number=16.0)) == "16.0 KiB"
