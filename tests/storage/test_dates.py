"""Dates that others write: receivers' headers, producers' rows, and what people type; none of them is trusted to be one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome
from almirant_webhooks.storage.sql import stats
from almirant_webhooks.web.pages import formatting

from ..support.steps import START, Steps

STRANGE = [
    "Fri, 31 Dec 99999 23:59:59 GMT",
    f"Fri, 31 Dec {'9' * 30} 23:59:59 GMT",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Sun, 06 Nov 1994 99:99:99 GMT",
    "Mon, 32 Foo 2026 09:00:00 GMT",
    "0", "", "-1", "now", "\u0661\u0662", "Mon, " * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("date", STRANGE)
def test_a_receiver_s_date_that_is_none_tells_nothing_of_our_clock(steps: Steps, date: str) -> None:
    """However far in the future; another receiver's, one without a zone too, still does."""
    webhook = steps.webhook()
    steps.event()
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200, response_headers=(("Date", date),))
    assert stats.clock_offset(steps.conn, START) is None
    steps.event()
    good = (("Date", "Mon, 23 Nov 2026 08:59:00 -0000"), ("date", date))
    steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200, response_headers=good)
    assert stats.clock_offset(steps.conn, START) == 60


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "0000-01-01", "x", ""])
def test_a_time_that_no_clock_shows_is_refused_in_a_sentence(text: str) -> None:
    """By one kind of error, wherever it was typed."""
    with pytest.raises(ValueError, match=r"is not a time|is out of range"):
        clock.parse(text)


def test_a_producer_s_year_0000_has_a_page_like_any_other() -> None:
    """SQLite's calendar has that year, and Python's has not."""
    assert formatting.ago("0000-01-01T00:00:00.000Z", datetime(2026, 11, 23, tzinfo=UTC)) == ""
    assert formatting.day_and_time("0000-01-01T00:00:00.000Z") == "0000-01-01 00:00:00"
