"""An engine as the daemon has it open."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...model import Due
from ...ops.keys import OperatorKeys
from .actions import ActionStore
from .delivery import DeliveryStore, OutboxStore
from .reading import ReadingStore
from .sessions import DeliveryWorker, Worker
from .upkeep import CleaningStore, ObservingStore, PruningStore, ResendingStore


class StorageService(Protocol):
    """The database and the outbox, with a worker that writes to each, and what each room asks of them.

    The workers are there once `open` has returned. Whoever makes a service gives it the stack by which what it opens is
    closed.
    """

    @property
    def deliveries(self) -> DeliveryStore:
        """What the delivery loop asks of the database."""

    @property
    def actions(self) -> ActionStore:
        """What people's actions read and write."""

    @property
    def reading(self) -> ReadingStore:
        """What the pages and the API read."""

    @property
    def pruning(self) -> PruningStore:
        """What is removed in the course of time."""

    @property
    def resending(self) -> ResendingStore:
        """Resends of many deliveries."""

    @property
    def cleaning(self) -> CleaningStore:
        """What is left of erased content."""

    @property
    def observing(self) -> ObservingStore:
        """How the service stands."""

    @property
    def rows(self) -> OutboxStore:
        """The outbox as the delivery loop reads and marks it."""

    @property
    def database(self) -> DeliveryWorker:
        """The worker that writes to the database."""

    @property
    def outbox(self) -> Worker:
        """The worker that writes to the outbox on behalf of people."""

    @property
    def upkeep(self) -> Worker:
        """The worker that writes to the database what is done once, however many daemons there are."""

    @property
    def outbox_upkeep(self) -> Worker:
        """The same of the outbox."""

    def rests(self) -> str | None:
        """Tell why this daemon does nothing of what is done once, or None; another one does it."""

    def share(self) -> str | None:
        """Tell in words what this daemon owns of what several share; None where it is alone."""

    def tell_owners(self, due: Mapping[str, Due]) -> None:
        """Let other daemons know that webhooks of theirs have something due."""

    @property
    def outbox_reader(self) -> Worker | None:
        """A worker that reads an outbox apart from the database; None where whoever reads the database reads it too."""

    @property
    def workers(self) -> Sequence[Worker]:
        """Every worker that was opened so far."""

    @property
    def operator_keys(self) -> OperatorKeys | None:
        """The operator's token and the key of links, once it is open; None where they are in a file of their own."""

    @property
    def may_send(self) -> Callable[[], bool] | None:
        """What tells, from any thread, whether no other daemon can have taken this one for gone; None where there are no others."""

    @property
    def files(self) -> Sequence[Path]:
        """The files that have to be there while the daemon runs; none for an engine that has no files here."""

    @property
    def paths(self) -> tuple[object, object]:
        """Where the database and the outbox are, for people to read."""

    async def open(self) -> None:
        """Open both; raises `Misconfigured` or `Refused`, when another daemon has them too."""

    async def open_reader(self) -> Worker:
        """Open another worker that reads the database alone."""

    def watch(self, look: Callable[[bool], None], every: float) -> Coroutine[Any, Any, None]:
        """Return what calls `look` whenever somebody may have committed, and once `every` seconds, until it is cancelled.

        It is told whether it is the first look after a write."""
