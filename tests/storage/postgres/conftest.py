"""Two daemons on one database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ...support.daemons import Daemons


@pytest.fixture
def first(daemons: Daemons) -> Daemons:
    """A database with no daemon yet."""
    return daemons


@pytest.fixture
async def second(first: Daemons, tmp_path: Path) -> AsyncIterator[Daemons]:
    """Another daemon on the same database, not started yet."""
    there = Daemons(tmp_path, first)
    yield there
    await there.close()
