"""PostgreSQL as an engine of the conformance suite: the database and its outbox in one schema."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from almirant_webhooks.ops import sealing
from almirant_webhooks.rules.postgres_urls import Place
from almirant_webhooks.storage.postgres.apart import PostgresActionStoreApart, identity_of
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, open_database, writing
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.errors import as_engines
from almirant_webhooks.storage.postgres.in_database import Inside, OutboxInDatabase
from almirant_webhooks.storage.postgres.listener import Listener
from almirant_webhooks.storage.postgres.opening import open_bound
from almirant_webhooks.storage.postgres.store import OutboxInPostgres
from almirant_webhooks.storage.postgres.stores import (
    PostgresActionStore,
    PostgresDeliveryStore,
    PostgresObservingStore,
    PostgresPruningStore,
    PostgresReadingStore,
    PostgresResendingStore,
)
from almirant_webhooks.storage.worker import Worker

from ...support.postgres import ICU_LOCALE, new_database, new_tables
from .engines import PostgresOutbox, SqliteEngine


class PostgresEngine(PostgresOutbox, SqliteEngine):
    """The database and its outbox in one schema of PostgreSQL."""

    def __init__(self, folder: Path, icu_locale: str = ICU_LOCALE) -> None:
        self.there = new_tables(icu_locale)
        self._place = self.there.place
        self._seals = sealing.beside(folder / "database")
        migrate_database(self._place, self._seals)
        self.session = self._open()
        self.other_session = self._open()
        self.outbox_session = self._open()
        self._other = self._open()
        inside = Inside(keep=True)
        self.deliveries = store = PostgresDeliveryStore(inside)
        self.outbox = OutboxInDatabase(inside)
        self.pruning, self.observing = PostgresPruningStore(), PostgresObservingStore()
        self.actions, self.reading = PostgresActionStore(), PostgresReadingStore()
        self.resending = PostgresResendingStore()
        self._listen(self.there.place, store.note_commit)

    def committed(self) -> None:
        self._heard.acquire()

    def worker(self) -> Worker:
        return Worker(self._open, writing, as_engines)

    def _open(self) -> DatabaseSession:
        return open_database(self._place, self._seals)

    @contextmanager
    def locked_outbox(self) -> Iterator[None]:
        """Hold the lock of whoever writes to the database."""
        with writing(self._other):
            yield

    def _listen(self, place: Place, note_commit: Callable[[], None]) -> None:
        """Let `committed` wait for a NOTIFY of a producer."""
        self._heard = threading.Semaphore(0)

        def hear() -> None:
            note_commit()
            self._heard.release()

        self._listener = Listener(place, hear)
        self._listener.start()
        self._heard.acquire()  # it listens from now on

    def close(self) -> None:
        self._listener.stop()
        self._listener.join()
        self._other.close()
        super().close()


class PostgresApartEngine(PostgresEngine):
    """The database in PostgreSQL, and the outbox in another database of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._listener.stop()
        self._listener.join()
        self.outbox_session.close()
        self.there = new_database()
        identity = functools.partial(identity_of, self._place)
        connect = functools.partial(open_bound, self.there.place, identity)
        self.outbox_session = connect()
        self.outbox = store = OutboxInPostgres(connect, patience=60)
        self.actions = PostgresActionStoreApart()
        self._listen(self.there.place, store.note_commit)
        self.outbox.open()

    @contextmanager
    def locked_outbox(self) -> Iterator[None]:
        with self.there.connect() as conn:
            conn.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")
            yield

    def close(self) -> None:
        self.outbox.close()
        super().close()
