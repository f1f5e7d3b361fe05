"""Dates and clocks as the reader's own country writes them, in words of the page's language."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from .conftest import opened
from .scene import Scene

CREATED = "2024-01-05T23:30:15.250Z"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ("en-US", r"Jan 6, 2024, 12:30\sAM"),
        ("en-GB", "6 Jan 2024, 00:30"),
        ("de-DE", "6 Jan 2024, 00:30"),  # who reads a page in English that is not their language
    ],
)
async def test_a_date_is_in_the_order_of_the_readers_country(
    browser: Browser, portal: Scene, locale: str, shown: str
) -> None:
    """Americans had British dates beside American clocks."""
    webhook = portal.service.webhook("https://example.com/in")
    portal.service.execute("UPDATE webhooks SET created_at = ? WHERE id = ?", CREATED, webhook.id)
    options = {"locale": locale, "timezone_id": "Europe/Madrid"}
    async with opened(browser, portal, f"/webhooks/{webhook.id}", **options) as page:
        created = page.locator(f"time[data-local][datetime='{CREATED}']").first
        await expect(created).to_have_text(re.compile(shown))
