"""Changing a webhook: only what changed counts as changed, and who saves late overwrites nobody silently."""

from __future__ import annotations

from typing import Any

from almirant_webhooks.storage.sqlite import audit

from ..support.service import SECRET, Service
from .test_api import Api, api
from .test_pages import Pages, pages

__all__ = ["api", "pages"]

URL = "https://example.com/in"


def _updates(service: Service) -> list[str]:
    """Return what each entry about an update says, oldest first."""
    entries = service.read(audit.entries, action="webhook.updated", limit=100)
    return [entry["detail"] for entry in reversed(entries)]


async def test_a_change_to_the_same_values_changes_nothing(api: Api) -> None:
    """Neither `updated_at` nor the audit trail tells of it."""
    path = f"/api/v1/webhooks/{api.service.webhook(URL).id}"
    _, before = await api.call("GET", path)
    same = {"url": URL, "events": ["*"], "description": "", "secret": SECRET}
    assert await api.call("PATCH", path, body=same) == (200, before)
    assert (await api.call("PATCH", path, body={}))[0] == 422
    assert await api.call("GET", path) == (200, before)
    assert _updates(api.service) == []


async def test_an_entry_names_the_fields_that_changed_and_no_other(pages: Pages) -> None:
    """The form sends all of them each time."""
    path = f"/webhooks/{pages.service.webhook(URL).id}/edit"
    form: dict[str, Any] = {"url": URL, "events": "*", "description": "the board"}
    await pages.post(path, **form)
    await pages.post(path, **{**form, "events": "lead.*"})
    await pages.post(path, **{**form, "events": "lead.*", "url": f"{URL}/2"})
    assert _updates(pages.service) == ["description", "events", "url"]
