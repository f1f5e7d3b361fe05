"""How attempts went, for a webhook and for a project: the page, the API and the command tell the same counts."""

from __future__ import annotations

import asyncio
import html
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.rules import activity
from almirant_webhooks.storage.sql import activity as stored

from ..conftest import Receiver
from .test_pages import Pages, pages
from .test_webhook_pages import words_of

__all__ = ["pages"]

NOW = datetime(2026, 11, 29, 16, 30, tzinfo=UTC)


def test_a_span_is_counted_in_whole_parts() -> None:
    """The current one among them; an hour in whole five minutes, so that it is the one before now."""
    begins = {name: clock.text(span.begin(NOW))[:16] for name, span in activity.SPANS.items()}
    assert begins == {"1h": "2026-11-29T15:35", "24h": "2026-11-28T17:00", "7d": "2026-11-22T17:00", "30d": "2026-10-30T17:00"}  # fmt: skip
    with pytest.raises(Refused, match="span must be one of 1h, 24h, 7d, 30d"):
        activity.span_of("2h", "span")


def test_the_error_rate_is_the_share_of_attempts_that_failed() -> None:
    """None where there was no attempt; the mean is of all attempts, and the commonest failure comes first."""
    parts: list[activity.CountedPart] = [
        {"start": "2026-11-29T15", "succeeded": 3, "failed": 1, "duration_ms": 400, "longest_ms": 250},
        {"start": "2026-11-29T16:05", "succeeded": 0, "failed": 2, "duration_ms": 200, "longest_ms": 150},
    ]
    counted: activity.Counted = {"parts": parts, "failures": {"500": 1, "timeout": 2}, "complete": True}
    found = activity.activity(counted, "1h", NOW)
    assert (found["attempts"], found["error_rate"], found["mean_ms"], found["longest_ms"]) == (6, 0.5, 100, 250)
    assert list(found["failures"]) == ["timeout", "500"]
    assert [part["start"] for part in found["parts"]] == ["2026-11-29T15:00:00.000Z", "2026-11-29T16:05:00.000Z"]
    nothing = activity.activity({"parts": [], "failures": {}, "complete": True}, "24h", NOW)
    assert (nothing["error_rate"], nothing["mean_ms"], nothing["longest_ms"]) == (None, None, None)


async def test_page_api_and_command_tell_the_same_of_a_webhook_and_of_its_project(
    pages: Pages, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By status, with the way to those deliveries; another project's is not there."""
    service = pages.service
    one, other = service.webhook(receiver.url), service.webhook(receiver.url)
    receiver.status = 503
    service.insert()
    await service.until(lambda: len(service.log(status="503")) == 2)
    receiver.status = 200
    service.insert()
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    headers = {"Authorization": f"Bearer {pages.service.keys().token}"}
    for path, times in ((f"webhooks/{one.id}/activity?span=1h", 1), ("activity?project=proj_1&span=30d", 2)):
        async with pages.client.get(f"/api/v1/{path}", headers=headers) as answer:
            found = await answer.json()
        assert (found["succeeded"], found["failed"], found["error_rate"]) == (times, times, 0.5)
        assert (found["failures"], found["failures_complete"]) == ({"503": times}, True)
        assert sum(part["failed"] for part in found["parts"]) == times
    for span in activity.SPANS:
        for path, times in ((f"/webhooks/{one.id}?span={span}", 1), (f"/activity?span={span}", 2)):
            page = await pages.get(path)
            assert f"{times} delivered {times} failed 50 % error rate" in words_of(page), path
            assert "status=503" in html.unescape(page)
    shell = service.shell(tmp_path)
    said = json.loads(await asyncio.to_thread(shell.ours, "activity", other.id, "--json"))
    assert (said["succeeded"], said["failures"]) == (1, {"503": 1})
    assert "50.0%" in await asyncio.to_thread(shell.ours, "activity", "--project", "proj_1")
    assert "Give a webhook, or --project." in await asyncio.to_thread(shell.ours, "activity", code=2)
    wrong = ("activity", "--project", "proj_1", "--span", "2d")
    assert "--span must be one of 1h, 24h, 7d, 30d." in await asyncio.to_thread(shell.ours, *wrong, code=2)
    monkeypatch.setattr(stored, "LOOKED_AT", 1)
    async with pages.client.get("/api/v1/activity?project=proj_1", headers=headers) as answer:
        assert (await answer.json())["failures_complete"] is False
    # Nothing of another project, and nothing of all.
    assert "Nothing was sent" in await pages.get("/activity", project="proj_2")
    await pages.get(f"/webhooks/{one.id}", project="proj_2", status=404)
    assert "Of which project?" in await pages.get("/activity", project=None)
    assert "2 delivered" in words_of(await pages.get("/activity?project=proj_1", project=None))
    for path in ("activity", "activity?project=proj_1&span=2h", f"webhooks/{one.id}/activity?span=0"):
        async with pages.client.get(f"/api/v1/{path}", headers=headers) as answer:
            assert answer.status == 422, path


def test_a_month_is_drawn_by_the_day() -> None:
    """Sums of 24 hours, whose mean is of all their attempts."""
    from almirant_webhooks.web.pages import plots

    start = NOW - timedelta(hours=1)
    rows = [
        {"start": clock.text(at)[:13], "succeeded": 1, "failed": 0, "duration_ms": took, "longest_ms": took}
        for at, took in ((start, 100), (NOW, 300))
    ]
    bars = plots.span(rows, NOW, activity.SPANS["30d"])
    assert (len(bars), bars[-1].succeeded, bars[-1].mean_ms, bars[-1].longest_ms) == (30, 2, 200, 300)
    assert len(plots.span(rows, NOW, activity.SPANS["7d"])) == 168


def test_the_mean_of_a_page_is_that_of_the_api() -> None:
    """Of all attempts, by the hour and by the day: a mean of means that were rounded before is another one."""
    from almirant_webhooks.web.pages import plots

    start = NOW - timedelta(hours=1)
    parts: list[activity.CountedPart] = [
        {"start": clock.text(at)[:13], "succeeded": count, "failed": 0, "duration_ms": took, "longest_ms": 3}
        for at, count, took in ((start, 10, 14), (NOW, 1, 3))
    ]
    told = activity.activity({"parts": parts, "failures": {}, "complete": True}, "24h", NOW)["mean_ms"]
    assert told == 2
    for span in ("24h", "30d"):
        assert plots.latency(plots.span(parts, NOW, activity.SPANS[span])).mean_ms == told, span
