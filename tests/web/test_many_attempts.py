"""A delivery with more attempts than are shown at once: each face has the newest, and page and command say so."""

from __future__ import annotations

import asyncio
import html
import re

from almirant_webhooks.storage.sql.log import MOST_ATTEMPTS

from ..conftest import Receiver
from .test_refusals import Doors
from .test_webhook_pages import words_of

IN_ALL = MOST_ATTEMPTS + 3
RESENT = """
WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, url, request_headers)
SELECT a.delivery_id, n.i, 'manual', a.started_at, 7, 'http_error', 500, a.url, a.request_headers
FROM attempts a JOIN n ON a.number = 1
"""


async def test_each_face_has_the_newest_attempts_and_a_page_any_other_by_its_number(
    doors: Doors, receiver: Receiver
) -> None:
    """Fifty-three of them; the count of the API is that of all."""
    service, said = doors.service, f"The newest {MOST_ATTEMPTS} of {IN_ALL} are shown."
    service.webhook(receiver.url, project="proj_m")
    service.insert({"n": 1}, project="proj_m")
    await service.until(lambda: service.log(project_id="proj_m", state="succeeded"))
    (row,) = service.log(project_id="proj_m")
    delivery_id = row["delivery_id"]
    path = f"/deliveries/{delivery_id}"
    assert "The newest" not in words_of(await doors.pages.get(path, None))
    assert "The newest" not in await asyncio.to_thread(doors.shell.ours, "delivery", "show", delivery_id)

    service.execute(RESENT, IN_ALL)
    service.execute("UPDATE deliveries SET begun = ?, attempts = ?, last_number = ?", IN_ALL, IN_ALL, IN_ALL)
    newest = [*range(4, IN_ALL + 1)]
    _, answer = await doors.api.call("GET", f"/api/v1{path}", None, None)
    assert ([one["number"] for one in answer["attempt_list"]], answer["attempts"]) == (newest, IN_ALL)

    page = await doors.pages.get(path, None)
    assert said in words_of(page)
    delivered = re.compile(r"Delivered: \S+ answered 200 in [\d,]+ ms\.")
    assert delivered.search(words_of(page)), "its success is older than what is shown"
    assert page.count(" after the one before") == MOST_ATTEMPTS, "before the oldest one that is shown was another"
    assert [number for number in range(1, IN_ALL + 1) if f'id="attempt-{number}"' in page] == newest
    is_first = 'Sent headers of attempt 1"'
    assert is_first in html.unescape(await doors.pages.get(f"{path}?attempt=1", None))
    assert is_first not in html.unescape(page)

    printed = await asyncio.to_thread(doors.shell.ours, "delivery", "show", delivery_id)
    assert said in printed.splitlines()
    assert delivered.search(printed)
    assert "\nAttempt 4, manual" in printed
    assert "\nAttempt 3, manual" not in printed
