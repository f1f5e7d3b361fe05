"""The same pages, API lists and loads with everything in a database of a server: the file was moved there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from almirant_webhooks.ops import sealing
from almirant_webhooks.storage.mixed import moving

from ..support.postgres_service import EverythingInPostgres
from ..support.service import Service
from . import pages
from .daemon import Bench
from .postgres import own_server, whole
from .table import Figure, Sizes


@contextmanager
def _moved(bench: Bench, _: Service) -> Iterator[tuple[Bench, Service]]:
    """Move a database to a server of its own, as `migrate --from` does."""
    with own_server() as server, whole(server) as there:
        moving.move(
            bench.database,
            there.there.place,
            sealing.beside(bench.database),
            there.seals,
            lambda *_: None,
            lambda _: None,
        )
        yield there, EverythingInPostgres(there.folder, there.there)


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the figures of `pages`, measured there."""
    yield from pages.figures(sizes, _moved, " in PostgreSQL")
