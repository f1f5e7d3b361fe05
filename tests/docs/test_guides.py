"""The receivers of the guide, each run as it stands in its language: 200 for what is genuine, 401 for all else, never 500."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession, CookieJar

from almirant_webhooks import clock

from ..conftest import Receiver
from ..support import needs
from ..support.ports import free_port
from ..support.service import SECRET, Service
from ..support.signed import request_headers

FOLDER = Path(__file__).parents[2] / "docs" / "receivers"
NEW = "whsec_" + "bmV3LW9mLXRoaXJ0eS10d28tYnl0ZXMtbG9uZy0tLSE="
BODY = b'{"id": "evt_1", "type": "lead.created", "data": {"name": "Fjord & S\xc3\xb8n"}}'


def _command(name: str, port: int) -> list[str]:
    commands = {
        "receiver.py": [sys.executable, "receiver.py"],
        "receiver.js": ["node", "receiver.js"],
        "receiver.php": ["php", "-S", f"127.0.0.1:{port}", "receiver.php"],
        "receiver.go": ["go", "run", "receiver.go"],
    }
    needs.program(commands[name][0])
    return commands[name]


@pytest.fixture(
    params=["receiver.py", "receiver.js", "receiver.php", pytest.param("receiver.go", marks=pytest.mark.slow)]
)
def receiver_port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of a receiver that runs; its files are copied, and its temporary ones are its own."""
    port = free_port()
    shutil.copy(FOLDER / request.param, tmp_path)
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port), "TMPDIR": str(tmp_path)}
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            _command(request.param, port), cwd=tmp_path, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + 500
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert process.poll() is None, (tmp_path / "out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield port
    os.killpg(process.pid, 9)
    process.wait()
    assert (tmp_path / "out").read_text().count("lead.created") == 2


def _headers(secret: str = SECRET, at: datetime | None = None, body: bytes = BODY, **more: str) -> dict[str, str]:
    headers = request_headers(
        url="http://127.0.0.1/", secret=secret, body=body, delivery_id=more.pop("delivery", "dlv_1"),
        event_type="lead.created", number=1, started_at=at or clock.now(), test=False, **more,
    )  # fmt: skip
    return {name: value for name, value in headers if name != "Host"}


@pytest.mark.long
def test_it_believes_what_is_genuine_once_and_nothing_else(receiver_port: int) -> None:
    """Repeats are answered with 200 and not handled again; during a rotation either secret will do."""

    def post(headers: dict[str, str], body: bytes = BODY) -> int:
        connection = HTTPConnection("127.0.0.1", receiver_port, timeout=20)
        connection.request("POST", "/", body, {**headers, "Content-Length": str(len(body))})
        status = connection.getresponse().status
        connection.close()
        return status

    assert post(_headers()) == 200
    assert post(_headers()) == 200
    assert post(_headers(NEW, last_secret=SECRET, delivery="dlv_2")) == 200
    refused = [
        _headers(NEW),
        _headers(at=clock.now() - timedelta(minutes=6)),
        _headers(at=clock.now() + timedelta(minutes=6)),
        {"Content-Type": "application/json"},
    ]
    for name in ("webhook-signature", "webhook-timestamp", "webhook-id"):
        refused.append({key: value for key, value in _headers().items() if key != name})
        refused += [
            {**_headers(), name: value} for value in ("", "v1,", "x" * 44, "\xe9", "-1", "9" * 40, "v1,w6k= v2")
        ]
    assert [post(headers) for headers in refused] == [401] * len(refused)
    assert post(_headers(), BODY + b" ") == 401
    assert post(_headers(body=b"no JSON", delivery="dlv_3"), b"no JSON") == 400
    assert post(_headers(body=BODY, delivery="dlv_2")) == 200


@pytest.fixture(
    params=[
        "with_sqlite3.py",
        "with_sqlalchemy.py",
        "with_django.py",
        pytest.param("with_go", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ]
)
def producer(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of a producer of the guide as it stands; Go's is built first, with the library that it pins."""
    place = FOLDER.parent / "producers" / request.param
    if place.suffix == ".py":
        return [sys.executable, str(place)]
    for needed in ("go", "gcc"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    shutil.copytree(place, tmp_path / "with_go")
    built = str(tmp_path / "producer")
    build = ["go", "build", "-mod=readonly", "-o", built, "."]
    environment = {**os.environ, "CGO_ENABLED": "1", "GOTOOLCHAIN": "local", "TMPDIR": str(tmp_path)}
    done = subprocess.run(build, cwd=tmp_path / "with_go", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [built]


@pytest.mark.long
async def test_a_producer_of_the_guide_inserts_with_its_business_change_and_once(
    producer: list[str], service: Service, receiver: Receiver
) -> None:
    """As it stands; run twice, the event goes out once, while each run's own change is there."""
    await service.start()
    service.webhook(receiver.url)
    conn = service.producer()
    conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
    conn.close()
    for _ in range(2):
        command = [*producer, str(service.database)]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        out, _ = await process.communicate()
        assert (process.returncode, out) == (0, b"")
    await service.until(lambda: service.log(state="succeeded"))
    conn = service.producer()
    assert conn.execute("SELECT item FROM orders").fetchall() == [("boots",), ("boots",)]
    conn.close()
    assert len(service.log()) == 1
    assert len(receiver.requests) == 1


@pytest.mark.long
async def test_the_guide_s_link_opens_the_pages_of_its_project(service: Service) -> None:
    """The link comes from the program as it stands, and leads to the list of webhooks."""
    service.options["admin"] = {"listen": "127.0.0.1:0", "token": "t" * 40}
    daemon = await service.start()
    assert daemon.address is not None
    address = f"http://127.0.0.1:{daemon.address[1]}"
    service.webhook("https://mine.example/in", project="proj_1")
    service.webhook("https://other.example/in", project="proj_2")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FOLDER.parent / "linking" / "portal_link.py"), address, "proj_1",
        env={**os.environ, "ALMIRANT_TOKEN": "t" * 40}, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    path = urlsplit(out.decode().strip()).path
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as browser, browser.post(address + path) as page:
        text = await page.text()
    assert (page.status, "mine.example" in text, "other.example" in text) == (200, True, False)
