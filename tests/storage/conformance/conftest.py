from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ...support.postgres import ANOTHER
from .engines import ENGINES, Engine, PostgresOutboxEngine
from .postgres_engine import PostgresApartEngine, PostgresEngine

ELSEWHERE = functools.partial(PostgresEngine, icu_locale=ANOTHER)
EVERY: dict[str, Callable[[Path], Engine]] = {
    **ENGINES,
    "PostgreSQL": PostgresEngine,
    "PostgreSQL, an outbox in another database": PostgresApartEngine,
    "PostgreSQL with another collation": ELSEWHERE,
}

# A server and its processes cost more than a file, and all but the outbox is the same as above it.
_SLOW = (PostgresOutboxEngine, PostgresApartEngine, ELSEWHERE)
_TIERS = {PostgresEngine: pytest.mark.long, **dict.fromkeys(_SLOW, pytest.mark.slow)}
_PARAMS = [pytest.param(name, marks=_TIERS.get(make, ())) for name, make in EVERY.items()]


@pytest.fixture(params=_PARAMS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each engine in turn, empty."""
    opened = EVERY[request.param](tmp_path)
    yield opened
    opened.close()
