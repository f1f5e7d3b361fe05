"""What an ordered webhook says of itself and of what waits, by command, API and page; and its box in the form."""

from __future__ import annotations

import asyncio
import html
import json
import re

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import webhooks

from ..conftest import Receiver
from .test_refusals import Doors


def words_of(page: str) -> str:
    """The words of a page, without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


async def test_every_face_says_what_a_delivery_waits_for(doors: Doors, receiver: Receiver) -> None:
    """The delivery itself, and the webhook once its oldest delivery has failed; what is not in order says nothing of it."""
    service, receiver.status = doors.service, 503
    webhook = service.webhook(receiver.url, project="proj_o", ordered=True)
    service.insert({"n": 1}, {"n": 2}, project="proj_o")
    await service.until(lambda: len(service.log(project_id="proj_o")) == 2 and service.log(status="503"))
    (head,) = service.log(status="503")
    (other,) = [row for row in service.log(project_id="proj_o") if row["status"] is None]
    ahead, at = head["delivery_id"], head["next_attempt_at"]
    waits_for = {"delivery_id": ahead, "attempt": 2, "in_flight": False, "next_attempt_at": at}

    _, answer = await doors.api.call("GET", f"/api/v1/deliveries/{other['delivery_id']}", None, None)
    assert answer["waits_for"] == waits_for
    _, answer = await doors.api.call("GET", f"/api/v1/deliveries/{ahead}", None, None)
    assert answer["waits_for"] is None
    said = await asyncio.to_thread(doors.shell.ours, "delivery", "show", other["delivery_id"])
    assert re.search(rf"^waits_for +{ahead} \(attempt 2 of 5 at {at}\)$", said, re.MULTILINE)
    assert "waits_for" not in await asyncio.to_thread(doors.shell.ours, "delivery", "show", ahead)
    said = await asyncio.to_thread(doors.shell.ours, "webhook", "show", webhook.id)
    assert re.search(rf"^waits_for +{ahead} \(attempt 2 of 5 at {at}\)$", said, re.MULTILINE)
    assert re.search(r"^ordered +yes$", said, re.MULTILINE)
    shown = json.loads(await asyncio.to_thread(doors.shell.ours, "webhook", "show", webhook.id, "--json"))
    assert (shown["waits_for"], shown["ordered"]) == (waits_for, True)

    sentence = f"{ahead} (attempt 2 of 5 at {at[:10]} {at[11:19]}"
    page = await doors.pages.get(f"/deliveries/{other['delivery_id']}", "proj_o")
    assert f"waits for {sentence}" in words_of(page)
    assert f'href="/deliveries/{ahead}"' in page
    assert "waits for" not in words_of(await doors.pages.get(f"/deliveries/{ahead}", "proj_o"))
    page = words_of(await doors.pages.get(f"/webhooks/{webhook.id}", "proj_o"))
    assert f"one after the other; the others wait for {sentence}" in page

    service.write(webhooks.update, webhook.id, options={"ordered": None}, now=clock.now())
    assert "one after the other" not in await doors.pages.get(f"/webhooks/{webhook.id}", "proj_o")
    said = await asyncio.to_thread(doors.shell.ours, "webhook", "show", webhook.id)
    assert re.search(r"^ordered +no$", said, re.MULTILINE)


async def test_the_form_s_box_says_and_changes_whether_it_is_ordered(doors: Doors) -> None:
    """A box that is not ticked takes it away; a form without the box, as an older page sends it, leaves it as it is."""
    service = doors.service
    webhook = service.webhook("https://example.com/in")
    edit = f"/webhooks/{webhook.id}/edit"
    box = re.compile(r'<input type="checkbox" id="ordered" name="ordered" value="true"( checked)?')
    form = {"url": webhook.url, "events": "*"}

    async def save(**fields: object) -> bool:
        status, _, text = await doors.pages.post(edit, None, **form, **fields)
        assert status == 303, text
        return service.read(webhooks.get, webhook.id).ordered

    async def is_ticked() -> bool:
        found = box.search(await doors.pages.get(edit, "proj_1"))
        assert found is not None
        return found[1] is not None

    assert not await is_ticked()
    assert await save(ordered="true", ordered_box="1")
    assert await is_ticked()
    assert await save()
    assert not await save(ordered_box="1")
    assert not await is_ticked()
    status, _, text = await doors.pages.post("/webhooks", None, **{**form, "url": "", "project_id": "p", "secret_kind": "generated", "ordered": "true", "ordered_box": "1"})  # fmt: skip
    assert (status, bool(box.search(text)), "checked" in box.search(text)[0]) == (422, True, True)  # type: ignore[index]
