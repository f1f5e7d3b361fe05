"""A network namespace of our own for a thread, so that routes can be taken away without touching the machine's."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import threading
from collections.abc import Awaitable, Callable

from ..support import needs

_CLONE_NEWNET = 0x40000000


def ip(*words: str) -> None:
    """Run `ip` in the namespace of the calling thread."""
    subprocess.run(["ip", *words], check=True)


def run_alone(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario in a thread whose network has nothing but loopback; what it raises is raised here."""
    needs.namespaces()
    raised: list[BaseException] = []

    async def whole() -> None:
        await scenario()

    def work() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            ip("link", "set", "lo", "up")
            asyncio.run(whole())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
