"""Marks rows of the outbox in spite of an application's triggers: a row that they refuse stays unmarked, the others do not."""

from __future__ import annotations

import sqlite3

from ..engine import FanOut, Mark, TriggerFails
from . import erasing_outbox, outbox, triggers


def mark(
    conn: sqlite3.Connection,
    fan_out: FanOut,
    marks: list[Mark],
    batch: int | None,
    now: str,
    *,
    just_read: bool = False,
) -> None:
    """Write the daemon's answers into the rows, as `outbox.mark` does; if that fails, into one row at a time.

    Rows that a trigger refuses are added to `fan_out`. Rows that were `just_read` in this transaction cannot have changed.
    Call it inside a transaction, which is over if this raises.
    """
    try:
        if just_read:
            outbox.mark_taken(conn, marks, now)
        else:
            fan_out.replace(outbox.mark(conn, marks, batch, now))
        if fan_out.swallowed:
            erasing_outbox.erase_rows(conn, fan_out.swallowed)
        if fan_out.duplicates:  # a row that was marked and read again: a trigger may have ignored the mark
            rows, refusal = triggers.ignored_marks(conn, [row_mark.row.id for row_mark in marks])
            fan_out.refused, fan_out.refusal = fan_out.refused | rows, refusal or fan_out.refusal
    except (*triggers.ERRORS, TriggerFails) as error:
        fan_out.refusal = error if isinstance(error, TriggerFails) else triggers.trigger_error(conn, error)
        if fan_out.refusal is None:
            raise
        if not conn.in_transaction:  # RAISE(ROLLBACK)
            raise fan_out.refusal from None
        for row_mark in marks:
            _mark_one(conn, fan_out, row_mark, now)
        outbox.mark(conn, [], batch, now)


def _mark_one(conn: sqlite3.Connection, fan_out: FanOut, mark: Mark, now: str) -> None:
    """A statement that a trigger aborts changes nothing, and the transaction goes on."""
    try:
        fan_out.replace(outbox.mark(conn, [mark], None, now))
        if mark.row.id in fan_out.swallowed:
            erasing_outbox.overwrite(conn, [mark.row.id])
    except triggers.ERRORS as error:
        if (refusal := triggers.trigger_error(conn, error)) is None or not conn.in_transaction:
            raise refusal or error from None
        fan_out.refused.add(mark.row.id)
