"""Marking rows of the outbox past an application's triggers: what these refuse stays unmarked, and keeps nothing else."""

from __future__ import annotations

import sqlite3

from ..engine import FanOut, Mark
from . import outbox, triggers


def mark(
    conn: sqlite3.Connection,
    done: FanOut,
    marks: list[Mark],
    batch: int | None,
    now: str,
    *,
    just_read: bool = False,
) -> None:
    """Write the daemon's answers into the rows, as `outbox.mark` does; where that fails, into each by itself.

    What a trigger refuses is added to what was `done`. Rows that were `just_read` in the same transaction cannot have changed.
    Call it inside a transaction; it is over when this raises.
    """
    try:
        if just_read:
            outbox.mark_taken(conn, marks, now)
        else:
            done.replace(outbox.mark(conn, marks, batch, now))
        if done.duplicates:  # a row that was marked before, and came again: a trigger may have ignored the mark
            rows, why = triggers.ignored(conn, [one.row.id for one in marks])
            done.refused, done.why = done.refused | rows, why or done.why
    except triggers.ERRORS as error:
        done.why = triggers.blamed(conn, error)
        if done.why is None:
            raise
        if not conn.in_transaction:  # RAISE(ROLLBACK)
            raise done.why from None
        for one in marks:
            _mark_one(conn, done, one, now)
        outbox.mark(conn, [], batch, now)


def _mark_one(conn: sqlite3.Connection, done: FanOut, mark: Mark, now: str) -> None:
    """A statement that a trigger aborts changes nothing, and the transaction goes on."""
    try:
        done.replace(outbox.mark(conn, [mark], None, now))
    except triggers.ERRORS as error:
        if (why := triggers.blamed(conn, error)) is None or not conn.in_transaction:
            raise why or error from None
        done.refused.add(mark.row.id)
