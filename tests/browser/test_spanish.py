"""The pages in Spanish in a browser: nothing is violated or too wide, and the scripts' texts are Spanish too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from .conftest import visit
from .scene import scene


@pytest.mark.slow
async def test_in_spanish_axe_finds_no_violation_and_nothing_is_wider_than_a_phone(
    browser: Browser, axe: str, tmp_path: Path
) -> None:
    """Its words are longer."""
    wrong: list[str] = []
    size = {"width": 320, "height": 640}
    async with scene(tmp_path) as there, visit(browser, locale="es-ES", viewport=size, bypass_csp=True) as context:
        page = await context.new_page()
        await page.goto(there.link())
        await page.get_by_role("button", name="Abrir").click()
        for name, path in there.pages.items():
            await page.goto(there.address + path)
            await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert await page.evaluate("document.documentElement.lang") == "es"
            width = await page.evaluate("document.documentElement.scrollWidth")
            wrong += [f"{name} is {width} px wide"] if width > 320 else []
            await page.evaluate(axe)
            found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            wrong += [f"{name}: {one['id']}: {one['nodes'][0]['html'][:160]}" for one in found["violations"]]
    assert wrong == []


@pytest.mark.slow
async def test_times_and_what_scripts_say_are_spanish_until_another_language_is_chosen(
    browser: Browser, tmp_path: Path
) -> None:
    """At the foot of the page, in place; the clock goes with the language."""
    zone = "America/Bogota"
    async with scene(tmp_path) as there, visit(browser, locale="es-CO", timezone_id=zone) as context:
        page = await context.new_page()
        await page.goto(there.link())
        await page.get_by_role("button", name="Abrir").click()
        await page.goto(f"{there.address}/deliveries")
        await expect(page.locator("td.date time[data-local]").first).to_have_text(re.compile(r"^(Hoy|Ayer) \d"))
        await expect(page.locator("time[data-ago]").first).to_have_text(re.compile(r"^(hace \d+ |ahora mismo)"))
        await expect(page.get_by_text("Las horas son de America/Bogota.")).to_be_visible()
        await page.goto(f"{there.address}/activity?span=7d")
        await expect(page.locator(".axis time[data-local]")).to_have_text(
            re.compile(r"^\d{1,2} (de )?[a-z]{3,4}\.?( (de )?\d{4})?, \d")
        )
        await page.goto(f"{there.address}/deliveries")
        await expect(page.get_by_role("button", name="En vivo · pausar")).to_be_visible()
        await page.locator("input[name=id]").first.check()
        await expect(page.get_by_role("button", name="Reenviar 1 seleccionada")).to_be_enabled()
        await page.get_by_role("button", name="English").click()
        await expect(page.locator("td.date time[data-local]").first).to_have_text(re.compile(r"^(Today|Yesterday) \d"))
        assert page.url == f"{there.address}/deliveries"
        await page.reload()
        await expect(page.get_by_role("button", name="Español")).to_be_visible()
