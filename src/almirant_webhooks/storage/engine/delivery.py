"""What the delivery loop needs of an engine.

Who implements it may serve several daemons, each of which owns some of the projects: what is read, claimed and recovered by a
daemon is of its own projects. All of it is called in the delivery thread, with the session that its `Worker` gives to a step,
and raises `StorageError`. Times are parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

from ...model import Due
from ...rules.rates import Rate
from ...rules.retry import Schedule
from .sessions import Session
from .values import BEGIN, FanOut, LastEnd, Moved, OutboxRow, Place, ReadPlan, Start, Work, WrittenBatch


class DeliveryStore(Protocol):
    """The delivery log and the webhooks, as the loop reads and writes them."""

    @property
    def lock_is_fair(self) -> bool:
        """Whether writers get the lock in the order in which they ask for it; else batches have to leave it to others."""

    @property
    def owns(self) -> Callable[[str], bool] | None:
        """What tells of a project's id whether this daemon owns it; None where it owns all, always."""

    def settle(self, session: Session, schedule: Schedule, now: datetime) -> Mapping[str, float] | None:
        """Take and give projects, as the daemons on this database share them, in transactions of its own.

        Returns None if nothing has changed, else until when, in monotonic seconds, each ordered webhook waits whose daemon is
        gone: that one may be sending still. Whoever takes a project records the attempts that are open in it as interrupted;
        whoever is to give one owns it no longer, and it is free once nothing is in flight there. What is owned changes in
        here alone.
        """

    def leave(self) -> None:
        """Give all projects as soon as nothing is in flight there, and take no more: this daemon stops."""

    def why_not_begin(self) -> str | None:
        """Return why nothing may begin at the moment, or None; what has ended is recorded. From any thread."""

    def has_free_space(self) -> bool:
        """Tell whether there is room to record what is in flight; without it nothing new begins."""

    def transaction(self, session: Session) -> AbstractContextManager[object]:
        """Run a block as one write transaction: it is committed as a whole, or has changed nothing when this raises.

        It waits, in turn, for other writers; `Busy` says that it waited in vain. After `Lost` it is for `write` to tell, by
        what it finds, what was committed.
        """

    def write(self, session: Session, work: Work, schedule: Schedule, now: datetime) -> WrittenBatch:
        """Record what has ended, claim what is due, fan out rows, and mark those of an outbox in the database.

        Call it inside a transaction, with a time within it. A result is recorded once, whatever became of its delivery
        meanwhile; an event is taken once, however often its row is read; an attempt is begun by one daemon. With no work it
        proves that the database can be written.
        """

    def first_due_after(self, session: Session, webhook_id: str, limit: int) -> tuple[list[str], dict[str, Due]]:
        """Return the webhooks whose ids come after one, at most so many in their order, and when each has its next attempt."""

    def recent_starts(
        self, session: Session, limits: Mapping[str, Rate], now: datetime
    ) -> Mapping[str, Sequence[Start]]:
        """Return when attempts of each webhook began within the span of its limit, those in flight too.

        No test is among them. Of more than a limit has the newest are enough, and a part of less than a hundredth of the
        span may be told by the last that began in it.
        """

    def revision(self, session: Session) -> int:
        """Return a number that is another one once a webhook, or what is due for other reasons than a batch, has changed."""

    def changes(self, session: Session) -> int:
        """Return a number that is another one once another session has committed."""

    def interrupt_open(self, session: Session, schedule: Schedule, now: datetime) -> int:
        """Record the open attempts that no daemon makes any more as interrupted; return how many. Inside a transaction.

        Where daemons share the projects `settle` does so.
        """

    def last_ends(self, session: Session) -> Sequence[LastEnd]:
        """Return how the last attempt of each webhook ended, of those that are among the newest of all."""

    def has_later_times(self, session: Session, now: datetime) -> bool:
        """Tell whether something was written at a time that is still to come: the clock was set back since."""

    def shorten(self, session: Session, waits: Sequence[timedelta], now: datetime, after: Place = BEGIN) -> Moved:
        """Let none of the next waits be longer, from now, than the schedule's own. A step, inside a transaction."""

    def shift_due(self, session: Session, by: timedelta, now: datetime, after: Place = BEGIN) -> Moved:
        """Take a time off the next waits, as the clock was set back by it. A step, inside a transaction."""


class OutboxStore(Protocol):
    """The outbox, as the loop reads and marks it.

    One in the database is read and marked by `DeliveryStore.write`, in the transaction that takes its rows, but for marks that
    are slow. One apart, on a connection of its own, is read before that transaction and marked after it: a crash between the
    two does no harm, as `write` takes no event twice.
    """

    @property
    def is_in_database(self) -> bool:
        """Whether it is in the database, or apart."""

    @property
    def is_by_project(self) -> bool:
        """Whether projects take turns; without an index for it the oldest rows of all come first, of one project maybe."""

    @property
    def tells_few(self) -> bool:
        """Whether a read can take rows of projects that have few before their turn."""

    def open(self) -> None:
        """Connect to an outbox apart; raises `Misconfigured` or `Refused`."""

    def close(self) -> None:
        """Close that connection."""

    def has_free_space(self) -> bool:
        """Tell whether there is room for marks; without it nothing is read."""

    def changes(self) -> int:
        """Return a number that is another one once somebody has committed to an outbox apart."""

    def is_anything_unread(self, session: Session, plan: ReadPlan) -> bool:
        """Tell whether any row waits in an outbox in the database, but for those that the plan excludes."""

    def read(self, plan: ReadPlan) -> list[OutboxRow]:
        """Return rows of an outbox apart that wait: projects take turns, and each one's oldest come first."""

    def mark(self, session: Session, fan_outs: Sequence[FanOut], now: datetime) -> None:
        """Write answers into the rows, in one transaction that waits for nobody's lock.

        In the database those alone that are slow. A row that has changed since it was read is left to be read again. What
        a trigger of the application refuses is added to its `FanOut`, and keeps no other row from being marked.
        """
