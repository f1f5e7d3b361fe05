"""What one batch writes: it records attempts, begins what is due, and fans out rows of the outbox, in one transaction."""

from __future__ import annotations

import sqlite3
import time
from datetime import datetime

from ... import clock
from ...rules.retry import Schedule
from ..engine import Work, Written
from .claiming import claim
from .connection import prove_writable
from .deliveries import first_due_and_revision
from .fanout import fan_out
from .marking import mark
from .results import record
from .unread import read_unread


def write(conn: sqlite3.Connection, work: Work, schedule: Schedule, now: datetime) -> Written:
    """Record, claim and fan out, inside a transaction; rows of an outbox in the same file are marked too, apart from slow ones.

    `now` is a time within the transaction: a webhook that it sees was made before, and `event show` goes by that.
    """
    one_file = work.asked is not None
    touched = set(work.wanted)
    dropped = record(conn, work.results, schedule, touched) if work.results else 0
    more: set[str] = set()
    gone: list[str] = []
    begun = claim(conn, work.wanted, now, more, gone) if work.wanted else []
    served = work.wanted.keys() - more
    rows = read_unread(conn, work.asked) if work.asked is not None else work.rows
    done = None
    if rows:
        begin = time.monotonic()
        wait = schedule.waits[0]
        done = fan_out(
            conn, rows, wait, now, lambda one: work.take(one, one in served), work.most, numbered=not one_file
        )
        if one_file:
            quick = [answer for answer in done.marks if not answer.is_slow]
            mark(conn, done, quick, None, clock.text(now), just_read=True)
        done.seconds = time.monotonic() - begin
        begun += done.claims
        touched |= done.due
    if not (work.results or begun or gone or done):
        prove_writable(conn)
    return Written(dropped, begun, gone, done, touched, *first_due_and_revision(conn, touched))
