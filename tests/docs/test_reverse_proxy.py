"""The examples of docs/reverse-proxy.md: nginx with exactly those blocks, real TLS, and a link to a project through it."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from almirant_webhooks.ops.keys import Keys
from almirant_webhooks.rules import links
from almirant_webhooks.rules.links import PortalLink
from almirant_webhooks.settings.schema import Settings

from ..support import needs
from ..support.ports import free_port
from ..support.service import Service

DOCUMENT = Path(__file__).parents[2] / "docs" / "reverse-proxy.md"
NAME = "webhooks.example.com"


def _configuration(folder: Path, port: int, behind: int, mark: str = "nginx") -> str:
    """A block of the document with other ports and places, inside what a configuration needs around it."""
    found = re.search(rf"<!-- {mark} -->\n```nginx\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    block = found[1]
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("127.0.0.1:8420", f"127.0.0.1:{behind}"),
        ("/etc/ssl", str(folder)),
    ):
        assert old in block
        block = block.replace(old, new)
    places = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n{places}access_log {folder}/access.log;\n{block}}}\n"
    )


@asynccontextmanager
async def _nginx(folder: Path, configuration: str, port: int) -> AsyncIterator[None]:
    program = needs.program("nginx")
    (folder / "nginx.conf").write_text(configuration)
    process = await asyncio.create_subprocess_exec(
        program, "-p", str(folder), "-c", str(folder / "nginx.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None, (folder / "error.log").read_text()
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                await writer.wait_closed()
                break
        yield
    finally:
        process.terminate()
        await process.wait()


@dataclass
class Front:
    """nginx in front of a daemon, with TLS, and a browser that follows nothing by itself."""

    service: Service
    client: aiohttp.ClientSession
    port: int
    trusted: ssl.SSLContext
    cookie: str = ""  # as it was set
    first: str = ""  # where the link led to

    def ask(self, method: str, path: str, **more: Any) -> aiohttp.client._RequestContextManager:
        headers = {"Host": f"{NAME}:{self.port}", **more.pop("headers", {})}
        return self.client.request(
            method,
            f"https://127.0.0.1:{self.port}{path}",
            ssl=self.trusted,
            server_hostname=NAME,
            headers=headers,
            allow_redirects=False,
            **more,
        )

    async def come_in(self) -> str:
        """Follow a link to a project; return the session."""
        made = await asyncio.to_thread(_link, self.service.settings())
        path, origin = made.removeprefix(f"https://{NAME}:{self.port}"), f"https://{NAME}:{self.port}"
        async with self.ask("GET", path) as answer:
            assert f'action="{path}"' in await answer.text()
        async with self.ask("POST", path, headers={"Origin": origin}) as answer:
            assert answer.status == 303
            self.cookie = answer.headers["Set-Cookie"]
            self.first = answer.headers["Location"]
        return self.cookie.partition(";")[0]


def _link(settings: Settings) -> str:
    link = PortalLink("proj_1", int(time.time()) + 60)
    return links.url(Keys(settings).signing_key, link, settings.pages_address())


@asynccontextmanager
async def _front(service: Service, folder: Path, mark: str, path: str) -> AsyncIterator[Front]:
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    certificate.cert_chain_pems[0].write_to_path(folder / f"{NAME}.pem")
    certificate.private_key_pem.write_to_path(folder / f"{NAME}.key")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    port = free_port()
    service.options["admin"] = {"listen": "127.0.0.1:0", "public_url": f"https://{NAME}:{port}{path}"}
    daemon = await service.start()
    assert daemon.address is not None
    async with (
        _nginx(folder, _configuration(folder, port, daemon.address[1], mark), port),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):
        yield Front(service, client, port, trusted)


@pytest.mark.long
async def test_the_pages_work_below_a_path(service: Service, tmp_path: Path) -> None:
    """Every link, form, script and picture of every page that can be reached leads below it, and is there."""
    async with _front(service, tmp_path, "nginx: below a path", "/webhooks") as front:
        webhook = service.webhook("https://example.com/in")
        service.insert({"wi": 1})
        await service.until(lambda: service.log(limit=1))
        session = {"Cookie": await front.come_in()}
        assert (front.first, "Path=/webhooks;" in f"{front.cookie};") == ("/webhooks/webhooks", True)
        seen: set[str] = set()
        waiting = {front.first, f"/webhooks/webhooks/{webhook.id}/edit", "/webhooks/nowhere"}
        while waiting:
            path = waiting.pop()
            seen.add(path)
            async with front.ask("GET", path, headers=session) as answer:
                text = await answer.text()
                assert answer.status == (404 if path.endswith("/nowhere") else 200), path
            if answer.content_type == "text/html":
                places = _places(text)
                assert [one for one in places if not one.startswith(("/webhooks/", "#"))] == [], path
                waiting |= {one for one in places if one.startswith("/") and not one.endswith(_FORMS)} - seen
        for page in ("webhooks", f"webhooks/{webhook.id}", "deliveries", "events", "audit", "resends", "static/app.js"):
            assert any(one.startswith(f"/webhooks/{page}") for one in seen), page
        form = {"event_type": "lead.created"}
        origin = {"Origin": f"https://{NAME}:{front.port}"}
        async with front.ask(
            "POST", f"/webhooks/webhooks/{webhook.id}/test", headers=session | origin, data=form
        ) as answer:
            assert answer.status == 303
            assert answer.headers["Location"].startswith("/webhooks/deliveries/dlv_")
        async with front.ask("GET", "/webhooks/audit?action=webhook.tested") as answer:
            place = answer.headers["Location"]
            assert (answer.status, place) == (303, "/webhooks/sign-in?next=/audit?action%3Dwebhook.tested")
        async with front.ask("GET", "/webhooks/openapi.json") as answer:
            assert (await answer.json())["servers"] == [{"url": "/webhooks"}]
        async with front.ask("POST", "/webhooks/sign-out", headers=session | origin) as answer:
            assert answer.headers["Location"] == "/webhooks/sign-in"
            assert "Path=/webhooks" in answer.headers["Set-Cookie"]
        # On the machine itself there is no such path.
        assert service.daemon is not None
        assert service.daemon.address is not None
        async with front.client.get(f"http://127.0.0.1:{service.daemon.address[1]}/sign-in") as answer:
            assert 'action="/sign-in"' in await answer.text()


_FORMS = (
    "/sign-out",
    "/test",
    "/preview",
    "/secret",
    "/disable",
    "/resend",
    "/session/renew",
)  # where nothing is but a form's answer


def _places(text: str) -> set[str]:
    """Every place that a page names, wherever in its markup; a form's own notes of where to go back to aside."""
    found = set()

    class Page(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            for name, value in attrs:
                if name in ("href", "src", "action", "formaction") or (
                    (value or "").startswith("/") and tag != "input"
                ):
                    if given.get("method") != "post" or name != "action":
                        found.add(value or "")
                    else:
                        assert (value or "").startswith("/webhooks/")

    Page().feed(text)
    return found


@pytest.mark.long
async def test_a_link_opens_through_nginx_with_tls(service: Service, tmp_path: Path) -> None:
    """The cookie is Secure, forms pass the check of where they come from, and the link is in no access log."""
    async with _front(service, tmp_path, "nginx", "") as front:
        webhook = service.webhook("https://example.com/in")
        session = {"Cookie": await front.come_in()}
        assert "Secure" in front.cookie
        assert front.first == "/webhooks"
        async with front.ask("GET", "/webhooks", headers=session) as answer:
            assert webhook.id in await answer.text()
        off = f"/webhooks/{webhook.id}/disable"
        async with front.ask("POST", off, headers=session | {"Origin": "https://evil.example"}) as answer:
            assert answer.status == 403
        async with front.ask("POST", off, headers=session | {"Origin": f"https://{NAME}:{front.port}"}) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/webhooks?done=disabled")
        async with front.ask("GET", "/metrics") as answer:
            assert answer.status == 404
    log = (tmp_path / "access.log").read_text()
    assert "/webhooks" in log
    assert "/portal/" not in log
