"""Tells systemd the daemon's state (sd_notify(3)) and reads the watchdog's interval (sd_watchdog_enabled(3))."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import socket
from collections.abc import Callable

STATUS_EVERY = 1.0  # seconds between two checks for a change


def notify(state: str, *, within: float = 0.0) -> None:
    """Send a state to systemd, waiting up to `within` seconds. Without systemd, and on errors, it does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError):
        sender = _sender()
        sender.settimeout(within)
        sender.sendto(state.encode(), address)


@functools.cache
def _sender() -> socket.socket:
    """Open the socket once: the watchdog must be fed even if no more files can be opened."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    atexit.register(sender.close)
    return sender


async def tell_status(not_ready: Callable[[], str | None], share: Callable[[], str | None]) -> None:
    """Send systemd the daemon's status whenever it changes: why it does not deliver, its share, or `delivering`."""
    told = "delivering"
    while True:
        await asyncio.sleep(STATUS_EVERY)
        if (status := not_ready() or share() or "delivering") != told:
            told = status
            notify(f"STATUS={status}")


def watchdog_interval() -> float | None:
    """Return the watchdog's interval in seconds, or None if it is off."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    watched_pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not microseconds.isdigit() or watched_pid != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000
