"""Dials the first of some addresses that answers, each one checked at its socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import aiohappyeyeballs

from ..rules.urls import Blocked
from .resolver import AddressInfo

NEXT_ADDRESS = 0.25  # seconds after which the next address is dialled beside one that does not answer


async def dial(addresses: list[AddressInfo], may_dial: Callable[[str, int], bool]) -> socket.socket:
    """Return a connected socket. Raises `OSError`: `Blocked` for an address that may not be dialled, one of ours first."""
    own_errors: list[OSError] = []  # not of the network: a forbidden address, no file descriptor

    def open_socket(info: Any) -> socket.socket:
        """Check the address that is about to be dialled, a literal one too."""
        family, kind, proto, _, where = info
        if not may_dial(str(where[0]), int(where[1])):
            own_errors.append(Blocked())
            raise Blocked
        try:
            return socket.socket(family, kind, proto)
        except OSError as error:
            own_errors.append(OSError(error.errno, error.strerror))
            raise

    try:
        return await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS, socket_factory=open_socket
        )
    except (OSError, RuntimeError) as error:  # uvloop raises both
        if own_errors:
            raise own_errors[0] from None
        raise (error if isinstance(error, OSError) else OSError(str(error))) from None
