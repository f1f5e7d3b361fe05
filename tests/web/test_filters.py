"""Filters that people press, families of types, and types that are not there."""

from __future__ import annotations

import asyncio
import html
import re

import pytest

from ..conftest import Receiver
from .test_pages import Pages, pages

__all__ = ["pages"]


def _chips(page: str) -> dict[str, tuple[str, bool]]:
    """The address of each chip, and whether it is on, by its words."""
    found = re.findall(r'<a class="chip" href="([^"]*)"( aria-current="true")?>([^<]*)', page)
    return {words: (html.unescape(address), bool(on)) for address, on, words in found}


async def _two_families(pages: Pages, receiver: Receiver) -> None:
    service = pages.service
    service.webhook(receiver.url)
    service.insert(kind="lead.created")
    service.insert(kind="leads.created")
    service.insert(kind="work_item.moved")
    await service.until(lambda: len(service.log(state="succeeded")) == 3)


def _types(page: str) -> list[str]:
    return sorted(re.findall(r'<td role="cell" class="event"><code>([^<]*)', page))


async def test_a_chip_adds_its_condition_and_takes_it_away(pages: Pages, receiver: Receiver) -> None:
    """Beside those that are there already, on the log of all, of one webhook, and on events."""
    await _two_families(pages, receiver)
    webhook = pages.service.log()[0]["webhook_id"]
    for path in ("/deliveries", f"/webhooks/{webhook}/deliveries"):
        page = await pages.get(path)
        assert not any(on for _, on in _chips(page).values())
        page = await pages.get(_chips(page)["Lead"][0])
        assert _types(page) == ["lead.created"]
        page = await pages.get(_chips(page)["Failed"][0])
        assert _types(page) == []
        assert {words for words, (_, on) in _chips(page).items() if on} == {"Lead", "Failed"}
        page = await pages.get(_chips(page)["Failed"][0])
        page = await pages.get(_chips(page)["Last 24 h"][0])
        assert _types(page) == ["lead.created"]
        page = await pages.get(_chips(page)["Lead"][0])
        assert _types(page) == ["lead.created", "leads.created", "work_item.moved"]
    events = await pages.get(_chips(await pages.get("/events"))["Work item"][0])
    assert _types(events) == ["work_item.moved"]
    assert "Failed" not in _chips(events)


async def test_a_family_selects_its_types_alone_in_the_api_as_well(pages: Pages, receiver: Receiver) -> None:
    """`lead.*` is what begins with `lead.`; of deliveries, of their count, of events, and of what would be resent."""
    await _two_families(pages, receiver)
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    for path, number in (("deliveries?count=true&type=lead.*", 1), ("events?type=lead.*", 1), ("events?type=work_item.*", 1)):  # fmt: skip
        async with pages.client.get(f"/api/v1/{path}", headers=headers) as answer:
            found = await answer.json()
            assert (answer.status, len(found["items"]), found.get("count", {"value": number})["value"]) == (200, number, number)  # fmt: skip
    dry = {"event_type": "lead.*", "dry_run": True}
    async with pages.client.post("/api/v1/resends", json=dry, headers=headers) as answer:
        assert (await answer.json())["deliveries"] == 1


async def test_a_type_that_is_nowhere_is_refused_with_a_suggestion(pages: Pages, receiver: Receiver) -> None:
    """Neither in the catalogue nor of an event; one that an event has is not, whatever else is asked of it."""
    await _two_families(pages, receiver)
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    for kind, words in (("led.created", "Did you mean 'lead.created'?"), ("board.*", "Known are work_item.created")):
        for path in ("/deliveries", "/events"):
            assert words in html.unescape(await pages.get(f"{path}?event_type={kind}", status=422))
        for path in ("/api/v1/deliveries", "/api/v1/events"):
            async with pages.client.get(f"{path}?type={kind}", headers=headers) as answer:
                problem = await answer.json(content_type=None)
                assert (answer.status, problem["field"], words in problem["detail"]) == (422, "type", True)
        assert words in html.unescape(await pages.get(f"/resends/new?event_type={kind}", status=422))
        async with pages.client.post("/resends", data={"event_type": kind}, headers=pages.cookie("proj_1")) as answer:
            assert (answer.status, words in html.unescape(await answer.text())) == (422, True)
        for more in ({}, {"dry_run": True}):
            asked = {"event_type": kind, **more}
            async with pages.client.post("/api/v1/resends", json=asked, headers=headers) as answer:
                problem = await answer.json(content_type=None)
                assert (answer.status, problem["field"], words in problem["detail"]) == (422, "event_type", True)
        for option in ("--dry-run", "--yes"):
            command = ("delivery", "resend", "--type", kind, option)
            assert words in await asyncio.to_thread(pages.service.shell().ours, *command, code=1)
    for kind in ("leads.created", "leads.*", "lead.stage_changed", "sprint.*", "almirant.*"):
        await pages.get(f"/resends/new?event_type={kind}")
        await pages.get(f"/deliveries?event_type={kind}&state=failed")
        await pages.get(f"/events?event_type={kind}")
    # Another project's types tell nobody anything.
    for path in ("/deliveries", "/resends/new"):
        page = await pages.get(f"{path}?event_type=leads.created", project="proj_2", status=422)
        assert "Did you mean" in html.unescape(page)


@pytest.mark.parametrize("place", ["/deliveries", "/events"])
async def test_the_search_and_the_times_are_always_to_be_seen(pages: Pages, place: str) -> None:
    """In no fold; and what stands in a fold is opened where something is typed."""
    page = await pages.get(place)
    outside = re.sub(r"<details.*?</details>", "", page, flags=re.DOTALL)
    assert 'name="since"' in outside
    assert ('name="text"' in outside) is (place == "/deliveries")


async def test_the_date_that_a_list_shows_is_its_order_and_what_times_select_by(
    pages: Pages, receiver: Receiver
) -> None:
    """An old delivery that was sent again stays where it is, however new its last attempt."""
    service = pages.service
    service.webhook(receiver.url)
    service.insert({"n": 1})
    await service.until(lambda: service.log(state="succeeded"))
    service.insert({"n": 2})
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    new, old = (row["delivery_id"] for row in service.log())
    assert service.resend(old)
    await service.until(lambda: [one["outcome"] for one in service.detail(old)["attempt_list"]] == ["success"] * 2)
    tried = {row["delivery_id"]: row["date"] for row in service.log()}
    assert tried[old] > tried[new]

    async def listed(query: str = "") -> list[tuple[str, str]]:
        text = await pages.get(f"/deliveries{query}")
        return re.findall(r'<td [^>]*class="date"><a href="/deliveries/(\w+)"><time datetime="([^"]+)"', text)

    (first, newer), (second, older) = shown = await listed()
    assert (first, second) == (new, old)
    assert older < newer < tried[old]
    assert await listed(f"?since={newer}") == shown[:1]
    assert await listed(f"?until={newer}") == shown[1:]
    assert await listed(f"?since={older}") == shown
