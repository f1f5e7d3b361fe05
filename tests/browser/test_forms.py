"""What the form of a webhook and the switches say while they are used."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from almirant_webhooks.storage.sql import webhooks

from .conftest import visit
from .scene import Scene


@pytest.mark.slow
async def test_a_family_that_is_ticked_has_its_boxes_ticked(browser: Browser, portal: Scene) -> None:
    """They were greyed out unticked, as if the family left them out. Unticking brings back what was chosen before."""
    async with visit(browser) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/new")
        family = page.get_by_role("checkbox", name="Whole family work_item.*")
        moved, created = (page.locator(f"input[value='work_item.{word}']") for word in ("moved", "created"))
        everything = page.locator("input[name=events][value='*']")
        await moved.check()
        await family.check()
        await expect(created).to_be_checked()
        await expect(created).to_be_disabled()
        await everything.check()
        await expect(family).to_be_disabled()
        await everything.uncheck()
        await expect(family).to_be_checked()
        await expect(created).to_be_checked()
        await expect(created).to_be_disabled()
        await family.uncheck()
        await expect(created).not_to_be_checked()
        await expect(moved).to_be_checked()
        await expect(moved).to_be_enabled()


@pytest.mark.slow
async def test_without_a_script_a_family_shows_that_it_takes_its_boxes_in(browser: Browser, portal: Scene) -> None:
    """And is saved without them."""
    ticked = "box => getComputedStyle(box, '::before').content"
    async with visit(browser, java_script_enabled=False) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/new")
        family = page.get_by_role("checkbox", name="Whole family work_item.*")
        moved, lead = (page.locator(f"input[value='{kind}']") for kind in ("work_item.moved", "lead.created"))
        notice = page.locator("[data-apart] .one input").first
        await moved.check()
        assert await moved.evaluate(ticked) == "none"
        await family.check()
        assert await moved.evaluate(ticked) == '"✓"'
        assert await lead.evaluate(ticked) == "none"
        everything = page.locator("input[name=events][value='*']")
        await everything.check()
        assert [await box.evaluate(ticked) for box in (lead, family, notice)] == ['"✓"', '"✓"', "none"]
        await everything.uncheck()
        await page.get_by_label("URL").fill("https://example.com/in")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#secret")).to_be_visible()
    (made,) = portal.service.read(webhooks.find, project_id="proj_1")
    assert made.events == ("work_item.*",)


@pytest.mark.slow
@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_the_switch_leaves_people_where_they_are(browser: Browser, portal: Scene, script: bool) -> None:
    """On a webhook's page and on the list, whose words are those of the last switch."""
    webhook = portal.service.webhook("https://example.com/in")
    async with visit(browser, java_script_enabled=script) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        for path in (f"/webhooks/{webhook.id}", "/webhooks"):
            await page.goto(portal.address + path)
            for word, checked in (
                ("Disabled.", "false"),
                ("Enabled.", "true"),
                ("Disabled.", "false"),
                ("Enabled.", "true"),
            ):
                await page.get_by_role("switch").click()
                await expect(page.get_by_role("switch")).to_have_attribute("aria-checked", checked)
                if await page.locator("main > .notice").count():
                    await expect(page.locator("main > .notice")).to_contain_text(word)
                assert page.url.partition("?")[0] == portal.address + path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "button", "shown"), [("/webhooks/{id}", "Reveal", "#secret"), ("/tokens", "Make a token", "#new-token")]
)
async def test_back_leads_to_a_page_after_what_was_shown_once(
    browser: Browser, portal: Scene, start: str, button: str, shown: str
) -> None:
    """It was an error page of the browser, as an answer to a form cannot be had again. What was shown is not there twice."""
    path = start.format(id=portal.service.webhook("https://example.com/in").id)
    async with visit(browser) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(portal.address + path)
        if path == "/tokens":
            await page.get_by_label("Name").fill("deploy")
        await page.get_by_role("button", name=button).click()
        await expect(page.locator(shown)).to_be_visible()
        await page.wait_for_load_state()
        await page.goto(f"{portal.address}/events")
        await page.go_back()
        await expect(page).to_have_url(portal.address + path)
        await expect(page.get_by_role("button", name=button)).to_be_visible()
        await expect(page.locator(shown)).to_have_count(0)


@pytest.mark.slow
async def test_back_leads_to_the_form_after_one_that_was_refused(browser: Browser, portal: Scene) -> None:
    """It was an error page of the browser; and what was deleted meanwhile says so, with a way on."""
    async with visit(browser) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/new")
        await page.get_by_label("URL").fill("http://example.com/in")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#url-error")).to_be_visible()
        await page.get_by_label("URL").fill("https://example.com/in")
        await page.locator("input[name=events][value='*']").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#secret")).to_be_visible()
        await page.go_back()
        await expect(page.get_by_role("heading", name="Create webhook")).to_be_visible()
        await expect(page.locator("#url-error")).to_have_count(0)
        await page.go_forward()
        await page.goto(f"{page.url}/delete")
        await page.get_by_role("button", name="Delete for good").click()
        await page.go_back()
        await expect(page.get_by_text("There is no webhook")).to_be_visible()
        await page.get_by_role("link", name="To the webhooks").click()
        await expect(page.get_by_role("heading", name="No webhooks yet")).to_be_visible()


@pytest.mark.slow
async def test_without_a_script_back_leads_to_what_was_refused_as_it_was_typed(browser: Browser, portal: Scene) -> None:
    """It was an error page of the browser. Sent again as it was mended, the form makes no second webhook."""
    async with visit(browser, java_script_enabled=False) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        await page.goto(f"{portal.address}/webhooks/new")
        await page.get_by_label("URL").fill("http://example.com/in")
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator("#url-error")).to_be_visible()
        await page.reload()
        await expect(page.get_by_label("URL")).to_have_value("http://example.com/in")
        for _ in range(2):
            await page.get_by_label("URL").fill("https://example.com/in")
            await page.locator("input[name=events][value='*']").check()
            await page.get_by_role("button", name="Save").click()
            await expect(page.get_by_role("link", name="Settings")).to_be_visible()
            await page.go_back()
            await expect(page.locator("#url-error")).to_be_visible()
    assert len(portal.service.read(webhooks.find, project_id="proj_1")) == 1


@pytest.mark.slow
async def test_without_a_script_back_and_reload_send_no_form_whose_answer_is_a_secret(
    browser: Browser, portal: Scene
) -> None:
    """The browser asked whether to send it again, or showed an error of its own."""
    webhook = portal.service.webhook("https://example.com/in")
    sent: list[str] = []
    async with visit(browser, java_script_enabled=False) as context:
        page = await context.new_page()
        await portal.come_in(page, "proj_1")
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
        for path, button, where, again in (
            (f"/webhooks/{webhook.id}", "Reveal", "#secret", "“Reveal” shows it once more"),
            ("/tokens", "Make a token", "#new-token", "revoke it and make another"),
        ):
            await page.goto(portal.address + path)
            if path == "/tokens":
                await page.get_by_label("Name").fill("ci")
            await page.get_by_role("button", name=button).click()
            await expect(page.locator(where)).to_have_text(re.compile(r"^(whsec|awa)_"))
            await page.reload()
            await expect(page.get_by_text(again)).to_be_visible()
            await page.goto(f"{portal.address}/events")
            await page.go_back()
            await expect(page.get_by_text(again)).to_be_visible()
            await expect(page.locator(where)).to_have_count(0)
    assert [url.removeprefix(portal.address) for url in sent] == [f"/webhooks/{webhook.id}/secret", "/tokens"]
