"""Changing a webhook: only what changed counts as changed, and who saves late overwrites nobody silently."""

from __future__ import annotations

import re
from typing import Any

from almirant_webhooks.model import OPTIONS
from almirant_webhooks.rules import versions
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit, webhooks

from ..support.service import SECRET, Service
from .test_api import Api, api
from .test_pages import Pages, pages

__all__ = ["api", "pages"]

URL = "https://example.com/in"


def _updates(service: Service) -> list[str]:
    """Return what each entry about an update says, oldest first."""
    entries = service.read(audit.entries, AuditSelection(action="webhook.updated"), limit=100)
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


def test_each_setting_has_a_name_for_people() -> None:
    """The audit trail and a form that comes too late say it."""
    assert versions.SETTINGS.keys() == {"url", "events", "secret", "description", *OPTIONS}


async def test_a_change_with_if_match_is_refused_when_somebody_else_was_first(api: Api) -> None:
    """412 as a problem document, and nothing is changed; with the new `ETag` it is made. This goes for each change."""
    path = f"/api/v1/webhooks/{api.service.webhook(URL).id}"

    async def tag() -> str:
        async with api.client.get(path, headers=api.operator()) as answer:
            return answer.headers["ETag"]

    calls: tuple[tuple[str, str, object], ...] = (
        ("PATCH", "", {"description": "mine"}),
        ("POST", "/disable", None),
        ("POST", "/enable", None),
        ("DELETE", "", None),
    )
    for number, (method, more, body) in enumerate(calls):
        seen = await tag()
        _, changed = await api.call("PATCH", path, body={"description": f"other {number}"})
        for condition in (seen, f"W/{await tag()}", "garbage", ""):
            status, problem = await api.call(method, path + more, None, body, **{"If-Match": condition})
            assert (status, problem["status"], problem["field"]) == (412, 412, "If-Match"), (method, condition)
            assert "Somebody else changed this webhook first" in problem["detail"]
        assert await api.call("GET", path) == (200, changed)
        status, _ = await api.call(method, path + more, None, body, **{"If-Match": f'"other", {await tag()}'})
        assert status in (200, 204)


async def test_each_answer_with_a_webhook_has_its_etag(api: Api) -> None:
    """It changes with each change, and the one that a change answers with is that of the next look."""
    new = {"project_id": "proj_1", "url": URL, "events": ["*"]}
    async with api.client.post("/api/v1/webhooks", json=new, headers=api.operator()) as answer:
        path, tags = answer.headers["Location"], [answer.headers["ETag"]]
    for method, more, body in (("PATCH", "", {"url": f"{URL}/2"}), ("POST", "/disable", {}), ("POST", "/enable", {})):
        async with api.client.get(path, headers=api.operator()) as answer:
            assert answer.headers["ETag"] == tags[-1]
        async with api.client.request(method, path + more, json=body, headers=api.operator()) as answer:
            tags.append(answer.headers["ETag"])
    assert len(set(tags)) == len(tags)
    assert (await api.call("PATCH", path, None, {"description": "x"}, **{"If-Match": "*"}))[0] == 200


def _version(page: str) -> str:
    found = re.search(r'name="version" value="([^"]+)"', page)
    assert found is not None
    return found[1]


async def test_of_two_tabs_that_edit_a_webhook_the_later_one_reads_what_the_other_changed(pages: Pages) -> None:
    """Nothing is saved, what was typed stays, and saving again puts it in place."""
    webhook = pages.service.webhook(URL)
    path = f"/webhooks/{webhook.id}/edit"
    seen = _version(await pages.get(path))
    first = {"url": f"{URL}/first", "events": "lead.*", "description": "", "version": seen}
    assert (await pages.post(path, **first))[0] == 303
    second = {"url": URL, "events": "*", "description": "typed", "version": seen}
    status, _, text = await pages.post(path, **second)
    assert status == 412
    assert f"URL: now {URL}/first; events: now lead.*" in text
    assert "description: now" not in text
    assert 'value="typed"' in text
    assert pages.service.read(webhooks.get, webhook.id).url == f"{URL}/first"
    assert (await pages.post(path, **{**second, "version": _version(text)}))[0] == 303
    assert pages.service.read(webhooks.get, webhook.id).description == "typed"


async def test_a_toggle_meanwhile_does_not_stop_the_form(pages: Pages) -> None:
    """The form has no such field."""
    webhook = pages.service.webhook(URL)
    path = f"/webhooks/{webhook.id}/edit"
    seen = _version(await pages.get(path))
    await pages.post(f"/webhooks/{webhook.id}/disable")
    assert (await pages.post(path, url=f"{URL}/2", events="*", description="", version=seen))[0] == 303
