"""Tunnels through an HTTP proxy, by CONNECT (RFC 9110, section 9.3.6). Everything here runs on the event loop."""

from __future__ import annotations

import asyncio
import re
import socket

from ..rules.proxies import Proxy
from .causes import classify_error, classify_loss
from .dialling import dial
from .own_faults import own_fault
from .proxy_answers import NO_ANSWER, NO_CONNECTION, NOT_HTTP, NoTunnel, ours, refusal
from .resolver import Resolver

MAX_ANSWER = 16 * 1024  # bytes of a proxy's answer to CONNECT, interim ones included
_PIECE = 4096
_STATUS = re.compile(rb"\s*HTTP/1\.[0-9] +([1-9][0-9]{2})[ \r\n]")
_END = re.compile(rb"\r?\n\r?\n")


class Tunnels:
    """Opens tunnels through one proxy. Its own address is exempt from the policy: an operator has named it."""

    def __init__(self, proxy: Proxy, resolver: Resolver) -> None:
        self._proxy = proxy
        self._resolver = resolver

    async def open(self, host: str, port: int, within: float) -> socket.socket:
        """Return a socket whose bytes go to a receiver, within so many seconds.

        Raises `NoTunnel`, or another `OSError` for a shortage of our own (files, memory, threads).
        """
        try:
            async with asyncio.timeout(within):
                opened = await self._dial()
                try:
                    await self._connect(opened, host, port)
                except BaseException:
                    opened.close()
                    raise
                return opened
        except TimeoutError:
            raise ours(NO_ANSWER) from None

    async def _dial(self) -> socket.socket:
        proxy = self._proxy
        try:
            addresses = await self._resolver.resolve(proxy.host, proxy.port, any_address=True)
            return await dial(addresses, lambda address, port: True)
        except (OSError, ValueError) as error:
            if own_fault(error) is not None:
                raise
            raise ours(f"{NO_CONNECTION}: {classify_error(error).cause}") from None

    async def _connect(self, opened: socket.socket, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(opened, _request(self._proxy, host, port))
            status = await _read_status(loop, opened)
        except NoTunnel:
            raise
        except OSError as error:
            if own_fault(error) is not None:
                raise
            raise ours(f"{NO_ANSWER}: {classify_loss(error).cause}") from None
        if not 200 <= status <= 299:
            raise refusal(status)


def _request(proxy: Proxy, host: str, port: int) -> bytes:
    """Return the bytes of a CONNECT. Nothing of the request to the receiver is in it but host and port."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    return f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{authorization}\r\n".encode()


async def _read_status(loop: asyncio.AbstractEventLoop, opened: socket.socket) -> int:
    """Return the status of the final answer. Bytes behind the head of one that opens a tunnel are none of the receiver's."""
    seen = b""
    size = 0
    while True:
        while (end := _END.search(seen)) is None:
            data = await loop.sock_recv(opened, _PIECE)
            size += len(data)
            seen += data
            if not data and not seen:
                raise OSError  # without a number: it has closed
            if not data or size > MAX_ANSWER or not _may_be_answer(seen):
                raise ours(NOT_HTTP)
        match = _STATUS.match(seen)
        if match is None:
            raise ours(NOT_HTTP)
        status, seen = int(match[1]), seen[end.end() :]
        if status >= 200:
            if status <= 299 and seen:
                raise ours(f"{NOT_HTTP}: there is more than a head")
            return status


def _may_be_answer(seen: bytes) -> bool:
    return b"HTTP/1."[: len(seen.lstrip())].startswith(seen.lstrip()[:7])
