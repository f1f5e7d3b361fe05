"""Ports of loopback for programs that cannot be asked which one the system gave them."""

from __future__ import annotations

import itertools
import os
import socket

# Below those that the system gives to whoever asks for any (ip(7), ip_local_port_range): none of them takes it before the
# program does. Each process of a run has a hundred of its own.
_ports = itertools.count(10_000 + os.getpid() % 200 * 100)


def free_port() -> int:
    """Return a port that nobody listens on."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError
