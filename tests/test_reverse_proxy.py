"""The example of docs/reverse-proxy.md: nginx with exactly that block, real TLS, and a link to a project through it."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import trustme

from almirant_webhooks import access
from almirant_webhooks.access import Principal, Role
from almirant_webhooks.keys import Keys

from .service import Service

DOCUMENT = Path(__file__).parent.parent / "docs" / "reverse-proxy.md"
NAME = "webhooks.example.com"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _configuration(folder: Path, port: int, behind: int) -> str:
    """The block of the document with other ports and places, inside what a configuration needs around it."""
    found = re.search(r"<!-- nginx -->\n```nginx\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
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
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is not installed")
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


async def test_a_link_opens_through_nginx_with_tls(service: Service, tmp_path: Path) -> None:
    """The cookie is Secure, forms pass the check of where they come from, and the link is in no access log."""
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{NAME}.pem")
    certificate.private_key_pem.write_to_path(tmp_path / f"{NAME}.key")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    port = _free_port()
    service.options["admin"] = {"listen": "127.0.0.1:0", "public_url": f"https://{NAME}:{port}"}
    await service.start()
    assert service.daemon is not None
    assert service.daemon.address is not None
    webhook = service.webhook("https://example.com/in")
    who = Principal(Role.PROJECT_ADMIN, "proj_1", int(time.time()) + 60)
    link = access.link(Keys(service.settings()).signing_key, who, f"https://{NAME}:{port}")
    here = f"https://127.0.0.1:{port}"
    names = {"Host": f"{NAME}:{port}"}
    async with (
        _nginx(tmp_path, _configuration(tmp_path, port, service.daemon.address[1]), port),
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as client,
    ):

        def ask(method: str, path: str, **headers: str) -> aiohttp.client._RequestContextManager:
            return client.request(
                method, here + path, ssl=trusted, server_hostname=NAME, headers=names | headers, allow_redirects=False
            )

        async with ask("GET", link.removeprefix(f"https://{NAME}:{port}")) as answer:
            assert answer.status == 303
            cookie = answer.headers["Set-Cookie"]
            assert "Secure" in cookie
            assert answer.headers["Location"] == "/webhooks"
        session = cookie.partition(";")[0]
        async with ask("GET", "/webhooks", Cookie=session) as answer:
            assert webhook.id in await answer.text()
        off = f"/webhooks/{webhook.id}/disable"
        async with ask("POST", off, Cookie=session, Origin="https://evil.example") as answer:
            assert answer.status == 403
        async with ask("POST", off, Cookie=session, Origin=f"https://{NAME}:{port}") as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/webhooks?done=disabled")
        async with ask("GET", "/metrics") as answer:
            assert answer.status == 404
    log = (tmp_path / "access.log").read_text()
    assert "/webhooks" in log
    assert "/portal/" not in log
