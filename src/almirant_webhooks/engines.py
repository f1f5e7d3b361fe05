"""Which engine the settings name, as the daemon opens it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack

from .ops import sealing
from .settings.schema import Settings
from .storage.engine import StorageService
from .storage.sqlite.service import SqliteService


def service_of(
    settings: Settings,
    closing: AsyncExitStack,
    observe: Callable[[float, float], None],
) -> StorageService:
    """Return it, not opened yet; what it opens is closed by `closing`.

    `observe` is told how many seconds each transaction on a file waited for its lock and its commit.
    """
    seals, place = sealing.of(settings), settings.outbox_place
    # PostgreSQL's driver is not installed everywhere.
    if (everything := settings.database_place) is not None:
        from .storage.postgres.service import PostgresService
        from .storage.postgres.service_apart import PostgresServiceApart

        token, seconds, name = settings.admin.token, settings.delivery.timeout.total_seconds(), settings.daemon.name
        if place is not None:
            return PostgresServiceApart(
                everything, closing, seals, outbox=place, token=token, request_seconds=seconds, name=name
            )
        keep = "outbox" in settings.retention.model_fields_set
        return PostgresService(everything, closing, seals, token=token, request_seconds=seconds, keep=keep, name=name)
    path = settings.database.path
    if place is not None:
        from .storage.mixed.service import MixedService

        return MixedService(path, place, observe, closing, seals)
    return SqliteService(path, settings.outbox.path, observe, closing, seals)
