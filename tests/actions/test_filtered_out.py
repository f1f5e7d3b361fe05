"""An event that a webhook's filter does not let through: each face says so, and which condition did not hold."""

from __future__ import annotations

import asyncio
import html
import json
from typing import Any

from almirant_webhooks.rules import filters

from ..conftest import Receiver
from ..web.test_refusals import Doors
from ..web.test_webhook_pages import words_of

CONDITION = "data.n > 5"
VERDICT = f"It was filtered out: {CONDITION} did not hold."


async def test_each_face_says_that_an_event_was_filtered_out_and_by_which_condition(
    doors: Doors, receiver: Receiver
) -> None:
    """Beside another webhook that gets it, and where nobody else subscribes."""
    service = doors.service
    filtering = service.webhook(
        receiver.url, "work_item.*", "lead.*", project="proj_f", filter=filters.check(["type exists", CONDITION])
    )
    other = service.webhook(receiver.url, "work_item.*", project="proj_f")
    (shared,) = service.insert({"n": 5}, project="proj_f")
    (nobodys,) = service.insert({"n": 5}, project="proj_f", kind="lead.created")
    (through,) = service.insert({"n": 6}, project="proj_f", kind="lead.created")
    await service.until(lambda: len(service.log(project_id="proj_f", state="succeeded")) == 2)
    assert sorted(request.headers["X-Almirant-Event"] for request in receiver.requests) == [
        "lead.created",
        "work_item.created",
    ]

    async def command(*words: str) -> str:
        return str(await asyncio.to_thread(doors.shell.ours, *words))

    told = "SELECT webhook_id, outcome, condition FROM event_outcomes WHERE event_id = ?"
    assert {row[0]: (row[1], row[2]) for row in service.execute(told, shared)} == {
        filtering.id: ("filtered out", CONDITION),
        other.id: ("succeeded", None),
    }
    assert filtering.id not in {row[0] for row in service.execute(told, through) if row[1] == "filtered out"}
    shown = await command("event", "show", shared)
    assert "filtered out" in shown
    assert VERDICT in shown
    status, answer = await doors.api.call("GET", f"/api/v1/events/{shared}")
    assert status == 200
    for event in (json.loads(await command("event", "show", shared, "--json")), answer):
        assert (event["deliveries"], event["filtered_out"], event["unmatched"]) == (1, 1, 0)
        outcomes: dict[str, Any] = {row["webhook_id"]: row for row in event["outcomes"]}
        told_of = outcomes[filtering.id]
        assert (told_of["outcome"], told_of["condition"], told_of["verdict"]) == ("filtered out", CONDITION, VERDICT)
        assert told_of["delivery_id"] is None
        assert outcomes[other.id]["condition"] is None
    listed = await doors.pages.get("/events", "proj_f")
    rows = {event: listed.split(f"<code>{event}</code>")[1].split("</tr>")[0] for event in (shared, nobodys, through)}
    assert ["filtered out" in rows[event] for event in (shared, nobodys, through)] == [True, True, False]
    assert "1 webhook, 1 filtered out" in words_of(rows[shared])
    for event in (shared, nobodys):
        page = html.unescape(await doors.pages.get(f"/events/{event}", "proj_f"))
        assert page.count(VERDICT) == 1
    assert "filtered out" not in await doors.pages.get(f"/events/{through}", "proj_f")
