"""Without a script the answer to a form has an address: the browser's Back and reload meet it, and not the form again."""

from __future__ import annotations

import re
from datetime import timedelta

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import KEYS_KEPT
from almirant_webhooks.storage.sql import webhooks

from ..support import sessions
from .test_pages import HOSTILE, Pages, pages

__all__ = ["pages"]
UNSCRIPTED = {"unscripted": "1"}
REFUSED = {"url": "http://example.com/in", "events": "*", "description": HOSTILE}


async def _place(pages: Pages, path: str = "/webhooks", **form: str) -> str:
    """Where a browser without scripts is led to by a form."""
    status, place, _ = await pages.post(path, **(form or REFUSED), **UNSCRIPTED)
    assert status == 303, (path, status)
    return place


async def test_a_refused_form_is_found_again_as_it_was_typed(pages: Pages) -> None:
    """However often; a browser with scripts gets it as an answer at once, as ever."""
    _, _, at_once = await pages.post("/webhooks", **REFUSED)
    place = await _place(pages)
    for _ in range(2):
        shown = await pages.get(place, status=422)
        assert 'value="http://example.com/in"' in shown
        assert "<img src=x" not in shown
        assert re.sub(r'(name="once" value=)"[^"]+"', r"\1", shown) == re.sub(
            r'(name="once" value=)"[^"]+"', r"\1", at_once
        )


async def test_whatever_a_form_is_refused_for_has_an_address(pages: Pages) -> None:
    """What a form has done leads to its own page."""
    webhook = pages.service.webhook("https://example.com/in")
    pages.service.write(webhooks.disable, webhook.id, clock.now())
    of_it = f"/webhooks/{webhook.id}"
    for path, form, status in (
        (f"{of_it}/edit", {"url": "http://example.com"}, 422),
        (f"{of_it}/rotate-secret", {"secret": "short"}, 422),
        (f"{of_it}/replay", {"since": "never"}, 422),
        (f"{of_it}/test", {"event": "no type"}, 422),
        ("/deliveries/dlv_none/resend", {"x": ""}, 404),
        ("/resends", {"state": "nonsense"}, 422),
    ):
        await pages.get(await _place(pages, path, **form), status=status)
    assert (await _place(pages, f"{of_it}/disable", x="")).partition("?")[0] in (of_it, "/webhooks")


async def test_an_answer_is_its_sessions_alone_and_for_a_day(pages: Pages) -> None:
    """It has what somebody typed, a secret say."""
    place = await _place(pages)
    for headers in (pages.cookie("proj_2"), pages.cookie(None), sessions.cookie(pages.service, "proj_1")):
        async with pages.client.get(place, headers=headers) as answer:
            assert (answer.status, "example.com" in await answer.text()) == (404, False)
    async with pages.client.get(place, allow_redirects=False) as answer:
        assert answer.status == 303
    (content,) = pages.service.execute("SELECT content FROM request_keys")[0]
    assert "example.com" not in content
    pages.service.execute(
        f"UPDATE request_keys SET created_at = '{clock.text(clock.now() - KEYS_KEPT - timedelta(seconds=1))}'"
    )
    assert "not kept any more" in await pages.get(place, status=404)
    await pages.get("/answers/" + "x" * 22, status=404)


async def test_a_preview_is_kept_nowhere(pages: Pages) -> None:
    """It shows what events have: one that is erased must not be found in it. Asked for again, by its key too, it is made anew."""
    webhook = pages.service.webhook("https://example.com/in")
    form = {"url": "https://example.com", "events": "*", "template": "{}"}
    status, _, _ = await pages.post(f"/webhooks/{webhook.id}/preview", **form, **UNSCRIPTED)
    assert status == 200
    for _ in range(2):
        async with pages.client.post(
            "/api/v1/webhooks/preview",
            json={"project_id": "proj_1", "url": "https://example.com", "events": ["*"]},
            headers={"Idempotency-Key": "k"},
        ) as answer:
            assert answer.status < 500
    assert pages.service.execute("SELECT count(*) FROM request_keys")[0][0] == 0


async def test_a_session_has_its_newest_answers_alone_and_no_large_ones(pages: Pages) -> None:
    """So that nobody fills the disk which deliveries need, by a form that is refused again and again."""
    places = [await _place(pages, **REFUSED, secret=f"short {number}") for number in range(23)]
    assert pages.service.execute("SELECT count(*) FROM request_keys")[0][0] == 20
    await pages.get(places[-1], status=422)
    assert "not kept any more" in await pages.get(places[0], status=404)
    status, _, _ = await pages.post("/webhooks", **{**REFUSED, "description": "x" * 70_000}, **UNSCRIPTED)
    assert status == 422


async def test_an_answer_whose_key_was_taken_away_is_not_kept_any_more(pages: Pages) -> None:
    """In the words of one that is too old: nothing was carried out."""
    place = await _place(pages)
    (content,) = pages.service.execute("SELECT content FROM request_keys")[0]
    pages.service.execute(f"UPDATE request_keys SET content = '{content[:-8]}AAAAAAAA'")
    assert "not kept any more" in await pages.get(place, status=404)
