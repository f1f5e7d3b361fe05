"""What several tests of faults need."""

from __future__ import annotations

import socket

import pytest


@pytest.fixture
def free_port() -> int:
    """A port of loopback for a daemon's `admin.listen`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
