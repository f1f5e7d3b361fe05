"""The pages wear the name, logo and colour of the application that links to them, and nothing else of it."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks.model import Misconfigured
from almirant_webhooks.rules import colours
from almirant_webhooks.settings.loading import load

from ..support.service import Service

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


async def test_the_pages_have_the_name_the_logo_the_colour_and_the_way_back(service: Service, tmp_path: Path) -> None:
    """As texts, whatever is in the name; a logo with a script in it is a picture alone."""
    logo = tmp_path / "logo.svg"
    logo.write_bytes(SVG)
    back = "https://shipyard.example/settings?tab=1&x=2"
    service.options["pages"] = {"name": "<Ship> & Co", "logo": str(logo), "accent": "#7A1F5C", "back": back}
    address = await service.serve()
    async with aiohttp.ClientSession(address) as client:
        async with client.get("/sign-in") as answer:
            page = await answer.text()
        assert "· &lt;Ship&gt; &amp; Co Webhooks</title>" in page
        assert 'href="https://shipyard.example/settings?tab=1&amp;x=2">Back to &lt;Ship&gt; &amp; Co</a>' in page
        assert page.index("Back to") < page.index("<details"), "who comes by links finds the way back before the token"
        assert 'src="/look/logo" alt=""' in page
        async with client.get("/look/logo") as answer:
            assert (await answer.read(), answer.content_type) == (SVG, "image/svg+xml")
            assert "sandbox" in answer.headers["Content-Security-Policy"]
            assert "script-src" not in answer.headers["Content-Security-Policy"]
        async with client.get("/look/theme.css") as answer:
            rules = await answer.text()
        assert (answer.content_type, "--blue: #7a1f5c; --on-blue: #ffffff" in rules) == ("text/css", True)


async def test_without_a_look_the_pages_are_as_they_were(service: Service) -> None:
    """And ask for no file that is not there."""
    address = await service.serve()
    async with aiohttp.ClientSession(address) as client:
        async with client.get("/sign-in") as answer:
            page = await answer.text()
        assert "· Almirant Webhooks</title>" in page
        assert not re.search("/look/|Back to", page)
        for path in ("/look/logo", "/look/theme.css"):
            async with client.get(path) as answer:
                assert answer.status == 404


@pytest.mark.parametrize("colour", ["#1d4f91", "#000000", "#7a1f5c", "#8a1010", "#004d00"])
def test_a_colour_is_read_on_light_and_dark_pages(colour: str) -> None:
    """On the dark one it is lightened as little as it takes."""
    assert colours.check(colour.upper()) == colour
    assert colours.contrast(colours.on_dark(colour), colours.NIGHT) >= colours.LEAST


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("accent", "red", "is not a colour"),
        ("accent", "#12345", "is not a colour"),
        ("accent", "#ffff00", "cannot be read on a light page"),
        ("accent", "#1d4f91; } body { display: none", "is not a colour"),
        ("name", "x" * 41, "at most 40 characters"),
        ("name", "a\u202eb", "characters that can be seen"),
        ("back", "javascript:alert(1)", "is not an address"),
        ("back", "//evil.example", "is not an address"),
        ("back", "https://a b", "is not an address"),
        ("logo", "logo.exe", "is not the path of a picture"),
        ("logo", "nowhere.svg", "is not a picture of at most 256 KiB"),
    ],
)
def test_a_look_that_cannot_be_is_refused_with_its_key(tmp_path: Path, key: str, value: str, words: str) -> None:
    """And with what to do."""
    config = tmp_path / "config.toml"
    config.write_text(f'[pages]\n{key} = "{value}"\n')
    with pytest.raises(Misconfigured, match=words) as refusal:
        load(str(config))
    assert f"pages.{key}" in str(refusal.value)
