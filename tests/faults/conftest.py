"""What several tests of faults need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..support import ports
from .limited import Limited


@pytest.fixture
def free_port() -> int:
    """A port of loopback for a daemon's `admin.listen`."""
    return ports.free_port()


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Limited]:
    """A database with no daemon yet."""
    there = Limited(tmp_path)
    yield there
    await there.close()
