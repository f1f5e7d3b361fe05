from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .engines import ENGINES, Engine, PostgresOutboxEngine
from .postgres_engine import PostgresEngine

EVERY = {**ENGINES, "PostgreSQL": PostgresEngine}

# A server and its processes cost more than a file, and all but the outbox is the same as above it.
_PARAMS = [
    pytest.param(name, marks=pytest.mark.slow if make is PostgresOutboxEngine else ()) for name, make in EVERY.items()
]


@pytest.fixture(params=_PARAMS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each engine in turn, empty."""
    opened = EVERY[request.param](tmp_path)
    yield opened
    opened.close()
