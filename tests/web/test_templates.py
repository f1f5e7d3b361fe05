"""Pages do not wait for their templates to be compiled, but for the first one."""

from __future__ import annotations

import asyncio
import threading
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
async def test_templates_are_compiled_once_for_all_languages_from_the_first_page_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for none pays nothing; the first one compiles its own alone on the event loop, and those that follow nothing."""
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
    monkeypatch.setattr(render, "PAUSE", 0)
    render.environment.cache_clear()
    address = await service.serve()
    async with aiohttp.ClientSession(address) as client:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/api/v1/webhooks"):
            async with client.get(path) as answer:
                await answer.read()
        assert not any(task.get_name() == "templates" for task in asyncio.all_tasks())
        assert compiled == []
        async with client.get("/sign-in") as answer:
            assert answer.status == 200
        for ahead in [task for task in asyncio.all_tasks() if task.get_name() == "templates"]:
            await ahead
    assert {*on_the_loop} <= {"sign_in.html"}
    assert {*compiled} == {path.name for path in TEMPLATES.iterdir()}
    at_first = list(compiled)
    webhook = service.webhook("https://receiver.example/in")
    async with aiohttp.ClientSession(address, headers=sessions.cookie(service, "proj_1")) as client:
        for language, word in (("en", "Deliveries"), ("es", "Entregas")):
            for path in ("/webhooks", f"/webhooks/{webhook.id}", "/deliveries", "/events"):
                async with client.get(path, headers={"Accept-Language": language}) as answer:
                    assert answer.status == 200
                    assert word in await answer.text()
    assert compiled == at_first
    assert len(compiled) - len({*compiled}) <= 1  # the first page's own, if the thread came to it at the same time
