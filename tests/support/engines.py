"""A service on the engine that a test is run over (`engine` in `conftest`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .service import Service
from .steps import Steps


@contextmanager
def service_on(engine_name: str, folder: Path, name: str = "hooks.db") -> Iterator[Service]:
    """Make a service, not started yet; `name` is that of its file. Its database in PostgreSQL is removed afterwards."""
    if engine_name == "sqlite":
        yield Service(folder / name)
        return
    from .postgres import new_tables  # whose driver a fast test does not need
    from .postgres_service import EverythingInPostgres

    there = new_tables()
    try:
        yield EverythingInPostgres(folder, there)
    finally:
        there.drop()


def steps_on(engine_name: str, folder: Path) -> Steps:
    """Make the steps of an event's way; whoever calls this closes them."""
    if engine_name == "sqlite":
        return Steps(folder / "steps.db")
    from .postgres_steps import PostgresSteps

    return PostgresSteps(folder)
