"""What several tests of faults need."""

from __future__ import annotations

import pytest

from ..support import ports


@pytest.fixture
def free_port() -> int:
    """A port of loopback for a daemon's `admin.listen`."""
    return ports.free_port()
