"""The outbox in our own database: read and marked within the transaction of a batch."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from datetime import datetime

from ... import clock
from ...rules.buckets import ALL
from ..engine import FanOut, Mark, OutboxRow, ReadPlan
from ..turns import next_rows
from . import erasing_outbox, marking, triggers, unread
from .connection import within
from .database_session import DatabaseSession, writing
from .driver import Error
from .share import Share

LOOK = 1.0  # seconds between two looks for triggers of the application's
CAREFUL = 600.0  # seconds of savepoints after another rule of it has refused a row
AHEAD = 1000  # rows of the projects in line that are looked at once some of the oldest were found locked
MOST_LOCKED = 1000  # such rows that are remembered: each read compares what it finds with all of them
LOCKED_FOR = 0.5  # seconds for which reads that find others pass them by
_ANY = f"SELECT EXISTS (SELECT FROM outbox WHERE {unread.UNREAD} AND id <> ALL(%s::bigint[]))"
# Bucket by bucket: the planner takes an index of what waits for a short one, and would join the whole of it to the buckets.
_ANY_OWNED = f"""
SELECT EXISTS (SELECT FROM unnest(%s::int[]) o CROSS JOIN LATERAL (
    SELECT FROM outbox WHERE {unread.UNREAD} AND outbox_bucket(project_id) = o AND id <> ALL(%s::bigint[]) LIMIT 1) r)
"""
_TAKE = """
DELETE FROM outbox o USING unnest(%s::bigint[], %s::text[]) v (id, version)
WHERE o.id = v.id AND o.xmin = v.version::xid
"""


class Inside:
    """What a batch reads and marks: `storage.sql.batch.OutboxInside`. Rows that it takes are deleted, unless it is to `keep` them.

    Rows are of the projects of a daemon's `share`. A deleted row costs the server 0.7 of what a marked one costs (contract, section 6: `retention.outbox` is `0s`).
    """

    def __init__(self, *, keep: bool, share: Share | None = None) -> None:
        self._keep = keep
        self._share = share or Share()
        self._has_triggers = False
        self._look_at = 0.0  # monotonic seconds: when to look for triggers again
        self._careful_until = 0.0  # the same, after something else of the application's has refused a row
        self._locked: set[int] = set()  # rows that transactions of the application have locked, as they were found
        self._locked_until = 0.0  # the same: when these are looked at again

    def read(self, session: DatabaseSession, plan: ReadPlan, /) -> Sequence[OutboxRow]:
        """Return rows that wait: projects take turns, and each one's oldest come first. They are locked then.

        Rows that others have locked are passed by: behind them there may be any number that nobody holds.
        """
        plan = plan._replace(limit=functools.cache(plan.limit))
        if time.monotonic() >= self._locked_until:
            self._locked.clear()
        remembered = set(self._locked)
        rows = self._take_turns(session, plan)
        if not rows and remembered and (free := unread.free(session, remembered)):
            self._locked -= free
            rows = self._take_turns(session, plan)
        return rows

    def _take_turns(self, session: DatabaseSession, plan: ReadPlan) -> list[OutboxRow]:
        """Choose rows, and once or twice again where others have locked some of them; remember which those are."""
        rows: list[OutboxRow] = []
        for ahead in (0, AHEAD, AHEAD):
            others = plan._replace(excluded=[*plan.excluded, *self._locked])
            line = unread.line(session, others, self._share.active, ahead)
            ids = next_rows(line, plan)
            rows, missed = unread.lock(session, ids)
            if not missed or len(self._locked) >= MOST_LOCKED:
                break
            if not self._locked:
                self._locked_until = time.monotonic() + LOCKED_FOR
            near = [row for _, waiting in line if not missed.isdisjoint(waiting) for row in waiting]
            self._locked |= set(near) - unread.free(session, near)
        return rows

    def is_anything_unread(self, session: DatabaseSession, plan: ReadPlan) -> bool:
        """Tell whether any row waits, but for those that the plan excludes."""
        excluded, owned = list(plan.excluded), self._share.active
        with within(session):
            rows = session.run(_ANY, excluded) if owned == ALL else session.run(_ANY_OWNED, list(owned), excluded)
        return bool(rows[0][0])

    def check(self, session: DatabaseSession) -> None:
        """Raise `Superseded` in a transaction of a daemon that was taken for gone."""
        self._share.check(session)

    def mark(self, session: DatabaseSession, fan_out: FanOut, marks: Sequence[Mark], now: str, /) -> None:
        """Take rows out of the outbox, or mark them. What an application's trigger refuses is added to `fan_out`.

        Raises `TriggerFails` where one refuses that was not there a second before; it is minded from the next batch on.
        """
        is_careful = self._may_be_refused(session)
        if is_careful:
            session.run("SAVEPOINT marks")
        try:
            self._write(session, fan_out, marks, now)
        except Error as error:
            if not triggers.is_of_the_application(error):
                raise
            if not self._has_triggers:
                self._careful_until = time.monotonic() + CAREFUL
            if not is_careful:
                raise triggers.blamed(session, error) from error
            session.run("ROLLBACK TO SAVEPOINT marks")
            marked = marking.one_by_one(session, fan_out, marks, now, triggers.trigger_names(session))
            marked.apply_to(fan_out)

    def _may_be_refused(self, session: DatabaseSession) -> bool:
        """Tell whether a savepoint is needed, by a look at the triggers once a second.

        A row that is locked outside of a savepoint and deleted within it belongs to two transactions for the server. It keeps
        that row's entries in the indexes until a vacuum, and each read passes them. See `docs/decisions/outbox-in-postgres.md`.
        """
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK
            self._has_triggers = bool(triggers.trigger_names(session))
        return self._has_triggers or now < self._careful_until

    def _write(self, session: DatabaseSession, fan_out: FanOut, marks: Sequence[Mark], now: str) -> None:
        to_mark = marks if self._keep else [mark for mark in marks if mark.rejected_reason is not None]
        taken = [] if self._keep else [mark.row for mark in marks if mark.rejected_reason is None]
        if taken:
            session.run(_TAKE, [row.id for row in taken], [row.version for row in taken])
        if to_mark:
            fan_out.replace(marking.write(session, to_mark, now))
        if fan_out.swallowed:
            erasing_outbox.erase_rows(session, fan_out.swallowed)
        if fan_out.duplicates:  # a row that was marked and read again: a trigger may have ignored the mark
            rows, refusal = triggers.ignored_marks(session, [mark.row.id for mark in marks])
            fan_out.refused, fan_out.refusal = fan_out.refused | rows, refusal or fan_out.refusal


class OutboxInDatabase:
    """The outbox as the delivery loop needs it beside its batches: `storage.engine.OutboxStore`."""

    is_in_database = True
    is_by_project = True
    tells_few = False  # a batch takes many rows, so that each project has its turn soon

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def open(self) -> None:
        """Do nothing: the database is open."""

    def close(self) -> None:
        """Do nothing."""

    def has_free_space(self) -> bool:
        """Return True: a full disk of the server's is told by the error of a write."""
        return True

    def changes(self) -> int:
        """Return 0: who commits to it commits to the database."""
        return 0

    def is_anything_unread(self, session: DatabaseSession, plan: ReadPlan) -> bool:
        """Tell whether any row waits, but for those that the plan excludes."""
        return self._inside.is_anything_unread(session, plan)

    def read(self, plan: ReadPlan) -> list[OutboxRow]:
        """Return nothing: a batch reads what is asked for."""
        return []

    def mark(self, session: DatabaseSession, fan_outs: Sequence[FanOut], now: datetime) -> None:
        """Mark the rows that are larger than an event may be."""
        with writing(session, 0.0, alone=False):
            self._inside.check(session)
            for fan_out in fan_outs:
                slow = [mark for mark in fan_out.marks if mark.is_slow]
                if slow:
                    self._inside.mark(session, fan_out, slow, clock.text(now))
