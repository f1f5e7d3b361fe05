"""The end is bounded: no client of the pages or the API puts it off, and nothing else that hangs does."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from almirant_webhooks.model import Refused
from almirant_webhooks.ops.threads import Threads
from almirant_webhooks.web.server import Server

from ..support.service import Service
from .process import DaemonProcess

LIMIT = 1  # seconds that a request to a receiver may take: by contract a stop takes 2 more
ENDS_WITHIN = 10.0  # seconds, on a machine that is busy with other things
TOKEN = "t" * 20
HANGING = str(Path(__file__).with_name("hanging.py"))

_FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
REQUESTS = {
    "a form of which a byte comes": f"POST /sign-in HTTP/1.1\r\nHost: HOST\r\n{_FORM}Content-Length: 100\r\n\r\nt",
    "a form in a chunk that does not end": f"POST /sign-in HTTP/1.1\r\nHost: HOST\r\n{_FORM}Transfer-Encoding: chunked\r\n\r\n9\r\nt",
    "a body that nobody asks for": f"POST /sign-out HTTP/1.1\r\nHost: HOST\r\n{_FORM}Content-Length: 100\r\n\r\nt",
    "an event of which a byte comes": f"POST /api/v1/events HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Length: 100\r\n\r\n{",
    "half of a head": "GET /healthz HTTP/1.1\r\nHost: HOST\r\nX-",
    "nothing": "",
    "many requests whose answers are not read": "GET /sign-in HTTP/1.1\r\nHost: HOST\r\n\r\n" * 5000,
}


@pytest.fixture
def daemon(service: Service, free_port: int) -> Iterator[DaemonProcess]:
    service.options["admin"] = {"listen": f"127.0.0.1:{free_port}", "token": TOKEN}
    service.options["delivery"] = {"timeout": f"{LIMIT}s"}
    service.migrate()
    there = DaemonProcess(service)
    yield there
    there.close()


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_no_client_of_the_pages_puts_a_stop_off(daemon: DaemonProcess, free_port: int, request_: str) -> None:
    """Whatever it does not send, or does not read; another is answered until then."""
    daemon.start()
    daemon.until_it_said('"started"')
    host = f"127.0.0.1:{free_port}"
    client = socket.create_connection(("127.0.0.1", free_port))
    client.setblocking(False)
    if request_:
        client.send(request_.replace("HOST", host).encode())
    async with ClientSession() as session, session.get(f"http://{host}/healthz") as answer:
        assert answer.status == 200  # by now the other request was read
    assert await asyncio.to_thread(daemon.stop, within=ENDS_WITHIN) == 0
    client.close()


def test_a_call_that_hangs_in_the_database_s_thread_does_not_put_a_stop_off(service: Service) -> None:
    """Of a disk that does not answer, say: the process is ended without waiting for it, and the log says so."""
    service.options["delivery"] = {"timeout": f"{LIMIT}s"}
    service.migrate()
    daemon = DaemonProcess(service, command=(sys.executable, HANGING))
    daemon.start()
    try:
        daemon.until_it_said("hanging")
        assert daemon.stop(within=ENDS_WITHIN) == 1
    finally:
        daemon.close()
    assert "something hangs" in daemon.log.read_text()


async def _answer(_: web.Request) -> web.Response:
    return web.Response(text="here")


async def test_connections_to_the_pages_are_bounded_as_they_are_files_too() -> None:
    """One too many is closed at once; when another has gone there is room again."""
    app = web.Application()
    app.router.add_get("/", _answer)
    threads = Threads("look up")
    server = Server(app, max_connections=2)
    writers: list[asyncio.StreamWriter] = []
    await server.open("localhost", 0, threads)
    try:
        host, port = server.addresses[0]

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection(host, port)
            writers.append(writer)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            try:
                return await reader.readline()
            except ConnectionError:
                return b""

        assert [await ask() for _ in range(3)] == [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n", b""]
        writers[0].close()
        while not await ask():
            await asyncio.sleep(0)
    finally:
        for writer in writers:
            writer.close()
        await server.close()
        threads.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no such name"])
async def test_an_address_that_is_not_this_machine_s_is_refused_in_a_sentence(host: str) -> None:
    """With the key that is wrong."""
    threads = Threads("look up")
    server = Server(web.Application(), max_connections=2)
    with pytest.raises(Refused, match=r"admin\.listen = .* cannot be opened"):
        await server.open(host, 0, threads)
    await server.close()


async def test_a_client_that_does_not_read_is_closed_by_the_kernel() -> None:
    """Each connection has the option that counts what is not taken from it."""
    threads = Threads("look up")
    app = web.Application()
    server = Server(app, max_connections=2)
    app.router.add_get("/", _tell_user_timeout)
    await server.open("127.0.0.1", 0, threads)
    host, port = server.addresses[0]
    async with ClientSession() as session, session.get(f"http://{host}:{port}/") as answer:
        assert await answer.text() == "60000"
    await server.close()


async def _tell_user_timeout(request: web.Request) -> web.Response:
    assert request.transport is not None
    its_socket = request.transport.get_extra_info("socket")
    return web.Response(text=str(its_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)))
