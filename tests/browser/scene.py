"""A project as it looks after a week: webhooks that work, fail and wait, for the checks of every page and its picture."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from aiohttp import web
from playwright.async_api import Page

from almirant_webhooks import clock
from almirant_webhooks.ops.keys import Keys
from almirant_webhooks.rules import links
from almirant_webhooks.rules.event_types import CATALOGUE, sample_payload
from almirant_webhooks.rules.links import PortalLink
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import resends, webhooks

from ..support.service import SECRET, Service

CHROMIUM = "/usr/bin/chromium"
PROJECT = "proj_shop"


@dataclass
class Scene:
    """What there is to look at."""

    service: Service
    address: str
    receiver: str = ""
    webhook: str = ""
    failing: str = ""
    disabled: str = ""
    new: str = ""
    delivery: str = ""
    event: str = ""
    resend: str = ""

    def link(self, project: str = PROJECT, expires_in: int = 3600) -> str:
        """The signed link to a project's pages."""
        link = PortalLink(project, int(time.time()) + expires_in)
        return links.url(Keys(self.service.settings()).signing_key, link, self.address)

    async def come_in(self, page: Page, project: str = PROJECT) -> None:
        """Open a link to a project's pages, and use it."""
        await page.goto(self.link(project))
        await page.get_by_role("button", name=re.compile("open$", re.IGNORECASE)).click()

    @property
    def pages(self) -> dict[str, str]:
        """Every page by the name of its picture."""
        one = f"/webhooks/{self.webhook}"
        return {
            "webhooks": "/webhooks",
            "create": "/webhooks/new",
            "webhook": f"/webhooks/{self.failing}?span=7d",
            "webhook-deliveries": f"/webhooks/{self.failing}/deliveries",
            "webhook-settings": f"{one}/edit",
            "enable": f"/webhooks/{self.disabled}/enable",
            "delete": f"{one}/delete",
            "replace-secret": f"{one}/rotate-secret",
            "deliveries": "/deliveries",
            "delivery": f"/deliveries/{self.delivery}",
            "resend-many": f"/resends/new?webhook={self.failing}&since=24h",
            "resend": f"/resends/{self.resend}",
            "resends": "/resends",
            "events": "/events",
            "event": f"/events/{self.event}",
            "rejected": "/rejected",
            "event-types": "/event-types",
            "activity": "/activity?span=7d",
            "tokens": "/tokens",
            "first-run": f"/webhooks/{self.new}",
            "replay": f"/webhooks/{self.new}/replay?since=24h",
            "audit": "/audit",
            "not-found": "/webhooks/wh_none",
        }


async def _answer(request: web.Request) -> web.Response:
    await request.read()
    if request.path.startswith("/services/"):
        return web.Response(text="ok")  # as Slack does
    if request.path == "/ci":
        return web.json_response(
            {"error": "build queue is full", "retryable": True}, status=503, headers={"X-Request-Id": "b7f1c0"}
        )
    return web.json_response({"received": True})


@asynccontextmanager
async def receivers() -> AsyncIterator[str]:
    """A server that takes everything but what goes to `/ci`; below `/services/` it answers as Slack does."""
    app = web.Application()
    app.router.add_post("/{path:.*}", _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def started(service: Service) -> str:
    """Return the address of a daemon that serves its pages."""
    assert service.daemon is not None
    assert service.daemon.address is not None
    return f"http://127.0.0.1:{service.daemon.address[1]}"


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    """A daemon with a week behind it."""
    service = Service(folder / "scene.db")
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    async with receivers() as receiver:
        try:
            await service.start()
            there = Scene(service, started(service), receiver)
            _make_webhooks(there)
            for kind in (*CATALOGUE, *CATALOGUE[:4]):
                there.event = service.insert(sample_payload(kind), project=PROJECT, kind=kind)[0]
            service.insert({"board": {"id": "b_1"}}, project="proj_other", kind="board.shared")
            _reject(service)
            await service.until(lambda: _settled(service))
            there.new = _create(there, "Archive", "/archive", "work_item.*", days_ago=0)
            there.delivery = service.log(webhook_id=there.failing)[0]["delivery_id"]
            _resend(there)
            await service.until(lambda: service.log(webhook_id=there.failing)[0]["attempts"] == 2)
            there.resend = _resend_many(there)
            await service.until(lambda: service.read(resends.get, there.resend)["finished_at"])
            _give_history(service.database, there)
            yield there
        finally:
            await service.close()


def _create(there: Scene, name: str, path: str, *events: str, project: str = PROJECT, days_ago: int = 40) -> str:
    made = there.service.write(
        webhooks.create,
        project_id=project,
        url=f"{there.receiver}{path}",
        events=events,
        secret=SECRET,
        description=name,
        limit=100,
        now=clock.now() - timedelta(days=days_ago),
    )
    return made.id


def _make_webhooks(there: Scene) -> None:
    create = partial(_create, there)
    there.webhook = create("Board mirror", "/boards/mirror", "work_item.*")
    there.failing = create("Build server", "/ci", "work_item.moved", "work_item.updated", "sprint.closed")
    there.disabled = create("CRM import", "/crm/leads", "lead.*", "sprint.created")
    create("", "/dashboard/almirant?board=31", "*")
    create("Other team", "/other", "*", project="proj_other")
    there.service.write(webhooks.disable, there.disabled, clock.now() - timedelta(hours=5))


def _settled(service: Service) -> bool:
    rows = service.log(limit=100)
    return len(rows) > 30 and all(row["attempts"] or row["held"] for row in rows)


def _resend(there: Scene) -> None:
    assert there.service.resend(there.delivery)


def _resend_many(there: Scene) -> str:
    """Send again what went well at one webhook, as after a receiver that had lost it."""
    asked = Selection(webhook_id=there.webhook, state="succeeded", since=clock.now() - timedelta(hours=12))
    counts = there.service.read(resends.count, asked)
    return there.service.write(resends.start, asked, counts, actor="operator", now=clock.now())


def _reject(service: Service) -> None:
    """Put rows into the outbox that cannot be sent."""
    conn = service.producer()
    with conn:
        conn.execute(
            "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'work_item.created', CAST(x'7b2261223a22ff227d' AS TEXT))",
            (PROJECT,),
        )
    conn.close()


def _give_history(database: Path, there: Scene) -> None:
    """Write the hours of a week, as the daemon would have."""
    conn = sqlite3.connect(database, timeout=10)
    now = clock.now()
    with conn:
        for webhook, busy, bad in ((there.webhook, 60, 0), (there.failing, 24, 5), (there.disabled, 9, 0)):
            for back in range(1, 168):
                if webhook == there.disabled and back < 6:
                    continue
                hour = now - timedelta(hours=back)
                daily = max(0, 1 - abs(hour.hour - 13) / 9)
                count = int(busy * daily * (1 + (back * 7 % 5) / 6))
                failed = count * bad // 20 if back % 24 in (3, 4, 5, 14) or back < 4 else 0
                longest = 180 + back * 37 % 240 + (2400 if failed else 0)
                if count:
                    conn.execute(
                        "INSERT OR REPLACE INTO webhook_hours VALUES (?, ?, ?, ?, ?, ?)",
                        (
                            webhook,
                            clock.text(hour)[:13],
                            count - failed,
                            failed,
                            count * (70 + back * 13 % 60 + (300 if failed else 0)),
                            longest,
                        ),
                    )
                for status, part in (("503", failed - failed // 4), ("timeout", failed // 4)):
                    if part:
                        conn.execute(
                            "INSERT OR REPLACE INTO webhook_failures VALUES (?, ?, ?, ?)",
                            (webhook, clock.text(hour)[:13], status, part),
                        )
        conn.execute(
            "UPDATE webhooks SET last_success_at = ?, failing_since = ?, failing_noticed_at = ? WHERE id = ?",
            (*(clock.text(now - timedelta(hours=hours)) for hours in (3.25, 3, 2)), there.failing),
        )
        conn.execute(
            "UPDATE deliveries SET state = 'failed', next_attempt_at = NULL WHERE id IN "
            "(SELECT id FROM deliveries WHERE webhook_id = ? AND id <> ? AND state = 'pending' AND in_flight = 0 ORDER BY id LIMIT 2)",
            (there.failing, there.delivery),
        )
        conn.execute(
            "UPDATE webhooks SET last_success_at = ? WHERE id = ?",
            (clock.text(now - timedelta(hours=6)), there.disabled),
        )
    conn.close()
