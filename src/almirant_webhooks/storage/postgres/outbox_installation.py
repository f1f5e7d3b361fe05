"""The tables of an outbox in an application's database, as an operator makes them and takes them over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime

from ...rules.postgres_urls import Place
from ..engine import StorageError
from . import grants, opening, outbox, tables
from .connection import connect


class OutboxInstallation:
    """The tables in a `place`. What fails there is raised as `Refused` or `Misconfigured`, in words for people."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def migrate(self) -> list[str]:
        """Make or upgrade them; return what was done, a sentence each."""
        with self._explaining(), closing(connect(self._place)) as session:
            opening.check_is_no_database(session)
            return tables.migrate(session)

    def adopt(self, renew: Callable[[], tuple[str, int]], since: datetime | None) -> int:
        """Bind it to another database; return how many taken rows are looked at again.

        `renew` gives that database a new id, as copies with the old one may have taken other batches, and returns it with the
        number of the last batch that it took.
        """
        with self._explaining(), closing(opening.open_outbox(self._place)) as session:
            return outbox.adopt(session, *renew(), since)

    def grant_producer(self, role: str) -> list[str]:
        """Grant a role what a producer needs, and nothing else; return what was done, a sentence each."""
        with self._explaining(), closing(connect(self._place)) as session:
            return grants.grant_producer(session, role)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            raise error.explained(f"the outbox ({self._place})") from error
