"""Marks rows of the outbox in spite of an application's triggers: a row that they refuse stays unmarked, the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..engine import CHANGED_AFTER_TAKEN, Busy, FanOut, Mark, TriggerFails
from . import erasing_outbox, triggers, unread
from .connection import Session, transaction
from .driver import Error, errors
from .unread import IS_UNREAD, OCCURRED_AT

# A row is as it was read while nobody has written it: `xmin` is the transaction that wrote it last.
_MARK = f"""
UPDATE outbox o SET fanned_out_at = v.at, rejected_reason = v.reason
FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[]) v (id, version, at, reason)
WHERE o.id = v.id AND o.xmin = v.version::xid AND {IS_UNREAD} RETURNING o.id
"""
# What was written meanwhile and holds the same is marked as well. Of an event that was taken, only another time is a change
# that the next read would not see: an event is known by its id, and what else it holds.
_MARK_SAME = f"""
UPDATE outbox SET fanned_out_at = CASE WHEN {OCCURRED_AT} = %(occurred_at)s THEN %(at)s::timestamptz END,
    rejected_reason = CASE WHEN {OCCURRED_AT} <> %(occurred_at)s THEN %(changed)s END
WHERE id = %(id)s AND event_id = %(event_id)s AND project_id = %(project_id)s AND event_type = %(event_type)s
    AND payload = %(payload)s AND {IS_UNREAD} RETURNING rejected_reason
"""
# Less than a lease: what a daemon that is gone holds locked is free when others take its projects.
_BRIEFLY = "SET LOCAL idle_in_transaction_session_timeout = 4000"
_META_WAIT = 200  # milliseconds for the marks of other daemons, which wait for nothing else
_LOCKED = (
    "a transaction of the application, or of a daemon that is gone, holds rows of outbox locked. The daemon marks a row by UPDATE outbox SET "
    "fanned_out_at = …, and tries again every minute: let that transaction end"
)


@dataclass
class Marked:
    """What marking the rows of one batch came to; `apply_to` tells the batch, in its own thread."""

    changed: list[Mark] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    refusal: TriggerFails | None = None

    def apply_to(self, fan_out: FanOut) -> None:
        """Take over other answers, and the rows that could not be marked."""
        fan_out.replace(self.changed)
        fan_out.refused, fan_out.refusal = fan_out.refused | self.refused, self.refusal or fan_out.refusal


def mark(session: Session, fan_outs: Sequence[FanOut], now: str) -> list[Marked]:
    """Write the daemon's answers into the rows of batches, in one transaction; row by row where the application refuses it.

    A row that has changed since it was read stays unmarked, to be read again. Raises `StorageError`.
    """
    try:
        return _mark(session, fan_outs, now)
    except TriggerFails:
        return _mark_one_by_one(session, fan_outs, now)
    except Busy as busy:
        if not _is_of_a_row(busy):
            raise
        return _mark_unlocked(session, fan_outs, now)


def _mark(session: Session, fan_outs: Sequence[FanOut], now: str) -> list[Marked]:
    all_marked = []
    with transaction(session, 0.0, first=_BRIEFLY), triggers.blaming(session):
        for fan_out in fan_outs:
            marked = Marked(write(session, fan_out.marks, now))
            if fan_out.swallowed:
                erasing_outbox.erase_rows(session, fan_out.swallowed)
            if fan_out.duplicates:  # a row that was marked and read again: a trigger may have ignored the mark
                ids = [row_mark.row.id for row_mark in fan_out.marks]
                marked.refused, marked.refusal = triggers.ignored_marks(session, ids)
            all_marked.append(marked)
        _note_batch(session, fan_outs)
    return all_marked


def _is_of_a_row(busy: Busy) -> bool:
    """Tell whether single rows of the outbox are locked: the server names the row that it was waiting for."""
    error = busy.__cause__
    context = error.diag.context or "" if isinstance(error, errors.LockNotAvailable) else ""
    return "tuple" in context and "outbox_meta" not in context


def _mark_unlocked(session: Session, fan_outs: Sequence[FanOut], now: str) -> list[Marked]:
    """Mark the rows that no transaction of the application's has locked; the others are read again after a while."""
    all_marked = []
    with transaction(session, 0.0, first=_BRIEFLY), triggers.blaming(session):
        for fan_out in fan_outs:
            ids = {row_mark.row.id for row_mark in fan_out.marks}
            free = unread.free(session, ids)
            marked = Marked(write(session, [row_mark for row_mark in fan_out.marks if row_mark.row.id in free], now))
            erasing_outbox.erase_rows(session, [row for row in fan_out.swallowed if row in free])
            if ids - free:
                marked.refused, marked.refusal = ids - free, TriggerFails(_LOCKED)
            all_marked.append(marked)
        _note_batch(session, fan_outs)
    return all_marked


def _mark_one_by_one(session: Session, fan_outs: Sequence[FanOut], now: str) -> list[Marked]:
    with transaction(session, 0.0, first=_BRIEFLY):
        names = triggers.trigger_names(session)
        all_marked = [one_by_one(session, fan_out, fan_out.marks, now, names) for fan_out in fan_outs]
        _note_batch(session, fan_outs)
    return all_marked


def one_by_one(session: Session, fan_out: FanOut, marks: Sequence[Mark], now: str, names: Sequence[str]) -> Marked:
    """Mark rows of a batch each by itself, inside a transaction; `names` are those of the application's triggers."""
    marked = Marked()
    for row_mark in marks:
        session.run("SAVEPOINT one_row")
        try:
            changed = write(session, [row_mark], now)
            if row_mark.row.id in fan_out.swallowed:
                erasing_outbox.overwrite(session, [row_mark.row.id])
            marked.changed += changed
            session.run("RELEASE SAVEPOINT one_row")
        except Error as error:
            if not triggers.is_of_the_application(error):
                raise
            session.run("ROLLBACK TO SAVEPOINT one_row")
            marked.refused.add(row_mark.row.id)
            marked.refusal = triggers.failure(names, error)
    return marked


def _note_batch(session: Session, fan_outs: Sequence[FanOut]) -> None:
    """Note the last batch that took rows, in the end of a transaction: other daemons wait for that row until its COMMIT."""
    if fan_outs:
        last = max(fan_out.batch for fan_out in fan_outs)
        session.run("SELECT set_config('lock_timeout', %s, true)", str(_META_WAIT))
        session.run("UPDATE outbox_meta SET batch = %s WHERE batch < %s", last, last)


def write(session: Session, marks: Sequence[Mark], now: str) -> list[Mark]:
    """Mark rows; return those that were rejected in the end, as their time was changed after the event was taken."""
    columns = (
        [row_mark.row.id for row_mark in marks],
        [row_mark.row.version for row_mark in marks],
        [None if row_mark.rejected_reason else now for row_mark in marks],
        [row_mark.rejected_reason for row_mark in marks],
    )
    written = {row[0] for row in session.run(_MARK, *columns)}
    changed = []
    for row_mark in marks:
        row = row_mark.row
        if row.id in written or row_mark.rejected_reason or row.payload is None:
            continue
        fields = row._asdict() | {"at": now, "changed": CHANGED_AFTER_TAKEN}
        if [True for (reason,) in session.conn.execute(_MARK_SAME, fields) if reason]:
            changed.append(Mark(row, CHANGED_AFTER_TAKEN))
    return changed
