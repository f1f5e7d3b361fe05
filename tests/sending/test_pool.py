"""Connections that are kept for a request to come: bounded, given up when files run out, and names that are looked up once."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from pathlib import Path

import pytest

from almirant_webhooks.model import Outcome
from almirant_webhooks.rules.urls import Policy
from almirant_webhooks.sending import resolver as resolving
from almirant_webhooks.sending.causes import classify_error
from almirant_webhooks.sending.own_faults import NO_FILES
from almirant_webhooks.sending.pool import EVICTED, destination_of
from almirant_webhooks.sending.resolver import Resolver

from ..support.hostile import OK, Serve, all_of_them, read_request, server
from .test_sender import claim, sender

ANSWER = OK + b"Content-Length: 0\r\n\r\n"


def _keeping(connections: list[asyncio.StreamWriter]) -> Serve:
    """Answer every request of a connection; note each connection, and take it out when it ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        try:
            while await read_request(reader):
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            connections.remove(writer)

    return serve


def _hosts(count: int, port: int) -> list[str]:
    return [f"http://127.0.{number}.1:{port}/in" for number in range(count)]


async def test_idle_connections_are_bounded_and_the_oldest_make_way() -> None:
    """The newest are those that a next request is likeliest to find open."""
    there: list[asyncio.StreamWriter] = []
    async with server(_keeping(there), host="0.0.0.0") as port, sender(most_idle=3) as sending:
        urls = _hosts(5, port)
        for url in urls:
            assert (await sending.send(claim(url))).outcome is Outcome.SUCCESS
        assert sending.connections.idle == 3
        opened = len(there)
        assert [sending.connections.take(destination_of(url)) is None for url in urls] == [True] * 2 + [False] * 3
        assert opened >= 3


async def test_what_nobody_asked_for_closes_an_idle_connection() -> None:
    """An answer that comes by itself is not the answer to the next request."""
    there: list[asyncio.StreamWriter] = []
    async with server(_keeping(there)) as port, sender() as sending:
        url = f"http://127.0.0.1:{port}/in"
        await sending.send(claim(url))
        (first,) = there
        first.write(b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n")
        await first.drain()
        async with asyncio.timeout(10):
            while there:
                await asyncio.sleep(0)
        result = await sending.send(claim(url))
        assert (result.outcome, result.status_code) == (Outcome.SUCCESS, 200)


async def test_idle_connections_make_way_when_files_run_out() -> None:
    """Those of quick receivers alone may have used them up: a healthy delivery goes out all the same."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with all_of_them() as ports:
        async with sender(timeout=10.0) as sending:
            url = f"http://127.0.0.1:{ports['closes kept connections']}/in"
            await asyncio.gather(*(sending.send(claim(url, f"dlv_{number}")) for number in range(20)))
            assert sending.connections.idle == 20
            good = claim(f"http://127.0.0.1:{ports['a gzip bomb']}/in")
            for limit, ended in ((_first_free(), (Outcome.SUCCESS, None)), (3, (Outcome.INTERRUPTED, NO_FILES))):
                idle = sending.connections.idle
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
                    result = await sending.send(good)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
                assert (result.outcome, result.cause) == ended
                assert sending.connections.idle == idle - EVICTED


def _first_free() -> int:
    """Return the lowest number that no file has: a limit of it leaves none to be had."""
    probe = os.open("/dev/null", os.O_RDONLY)
    os.close(probe)
    return probe


async def test_a_name_is_looked_up_once_in_ten_seconds() -> None:
    """Its addresses are judged at each dial all the same; asked to forget, it is looked up again."""
    asked: list[str] = []

    def look_up(host: str, family: int) -> resolving.Found:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0))]

    resolver = Resolver(Policy(closed=frozenset({("8.8.8.8", 1)})), look_up)
    for _ in range(3):
        assert [info[4] for info in await resolver.resolve("a.example", 443)] == [("8.8.8.8", 443)]
    with pytest.raises(OSError, match="not allowed"):
        await resolver.resolve("a.example", 1)
    assert asked == ["a.example"]
    resolver.forget()
    await resolver.resolve("a.example", 443)
    assert asked == ["a.example"] * 2
    await resolver.close()


async def test_a_lookup_that_fails_is_asked_again() -> None:
    """A mistake in DNS that is mended is over at once."""
    asked: list[str] = []

    def look_up(host: str, family: int) -> resolving.Found:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no name")

    resolver = Resolver(Policy(), look_up)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("a.example", 443)
    assert len(asked) == 2
    await resolver.close()


async def test_a_lookup_without_a_file_or_a_thread_is_no_fault_of_the_receiver() -> None:
    """The C library then tells of a name that is nowhere."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resolver = Resolver(Policy())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, most))
        with pytest.raises(OSError, match="open files") as without_file:
            await resolver.resolve("nowhere.invalid", 443)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    assert classify_error(without_file.value)[:2] == (Outcome.INTERRUPTED, NO_FILES)
    await resolver.close()


@pytest.mark.long
async def test_a_handshake_that_never_ends_leaves_no_file_behind() -> None:
    """The socket is closed with the attempt."""

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    ours = Path("/proc/self/fd")
    async with server(mute) as port, sender() as sending:
        result = await sending.send(claim(f"https://localhost:{port}/"))
        assert (result.outcome, result.cause) == (Outcome.TIMEOUT, "no answer within 0.5 s")
        peers = [path.resolve() for path in ours.iterdir() if path.is_socket()]
        await sending.send(claim(f"https://localhost:{port}/"))
        # One more file each time: the server's own end.
        assert len([path for path in ours.iterdir() if path.is_socket()]) <= len(peers) + 1
