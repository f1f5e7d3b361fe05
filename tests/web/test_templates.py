"""No page waits for its template to be compiled."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from jinja2 import Environment

import almirant_webhooks
from almirant_webhooks.web.pages import render

from ..support import sessions
from ..support.service import Service

TEMPLATES = Path(almirant_webhooks.__file__).parent / "web" / "templates"


@pytest.mark.long
@pytest.mark.sqlite
async def test_templates_are_compiled_once_for_all_languages_and_never_on_the_event_loop(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon after the start; the first pages in each language then compile nothing."""
    compiled: list[str] = []
    on_the_loop: list[str] = []
    compile_ = Environment.compile

    def counted(self: Environment, source: Any, name: str | None = None, *args: Any, **kwargs: Any) -> Any:
        compiled.append(str(name))
        if threading.current_thread() is threading.main_thread():
            on_the_loop.append(str(name))
        return compile_(self, source, name, *args, **kwargs)

    monkeypatch.setattr(Environment, "compile", counted)
    monkeypatch.setattr(render, "COMPILED", render.Compiled())
    monkeypatch.setattr(render, "AFTER", 0)
    monkeypatch.setattr(render, "PAUSE", 0)
    render.environment.cache_clear()
    address = await service.serve()
    (ahead,) = (task for task in asyncio.all_tasks() if task.get_name() == "templates")
    await ahead
    assert Counter(compiled) == Counter(path.name for path in TEMPLATES.iterdir())
    webhook = service.webhook("https://receiver.example/in")
    async with aiohttp.ClientSession(address, headers=sessions.cookie(service, "proj_1")) as client:
        for language, word in (("en", "Deliveries"), ("es", "Entregas")):
            for path in ("/webhooks", f"/webhooks/{webhook.id}", "/deliveries", "/events"):
                async with client.get(path, headers={"Accept-Language": language}) as answer:
                    assert answer.status == 200
                    assert word in await answer.text()
    assert len(compiled) == len({*compiled})
    assert on_the_loop == []
