from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .engines import ENGINES, Engine


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each engine in turn, empty."""
    opened = ENGINES[request.param](tmp_path)
    yield opened
    opened.close()
