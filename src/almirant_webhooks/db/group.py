"""A group: one transaction that records attempts, begins what is due, and fans out rows of the outbox."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from .. import clock
from ..model import Claim, Due, Result
from ..retry import Schedule
from .claiming import claim
from .connection import prove_writable
from .deliveries import first_due_and_revision
from .fanout import MAX_DELIVERIES, FanOut, fan_out
from .marking import mark
from .results import record
from .unread import OutboxRow


class Group(NamedTuple):
    """What a transaction is to do: new deliveries begin for which `take` gives a slot, and no rows follow `most` of them.

    `take` is told whether all that was due at the webhook has just been claimed.
    """

    results: list[Result]
    wanted: dict[str, int]
    rows: list[OutboxRow]
    take: Callable[[str, bool], bool] = lambda webhook, served: False
    most: int = MAX_DELIVERIES

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.results or self.wanted or self.rows)


class Written(NamedTuple):
    """What a transaction came to, and how the webhooks that it touched stand after it.

    `gone` are deliveries that ended as their events are gone from the database.
    """

    dropped: int
    begun: list[Claim]
    gone: list[str]
    fan_out: FanOut | None
    touched: set[str]
    due: dict[str, Due]
    revision: int


def write(
    conn: sqlite3.Connection, group: Group, schedule: Schedule, now: datetime, *, copied_at: datetime, one_file: bool
) -> Written:
    """Record, claim and fan out; rows of an outbox in the same file are marked too, apart from slow ones.

    Call it inside a transaction. `copied_at` is a time within the transaction: a webhook that it sees was made before, and
    `event show` goes by that.
    """
    touched = {result.claim.webhook_id for result in group.results} | set(group.wanted)
    dropped = record(conn, group.results, schedule) if group.results else 0
    more: set[str] = set()
    gone: list[str] = []
    begun = claim(conn, group.wanted, now, more, gone) if group.wanted else []
    served = group.wanted.keys() - more
    done = None
    if group.rows:
        begin = time.monotonic()
        done = fan_out(
            conn,
            group.rows,
            schedule.waits[0],
            copied_at,
            lambda one: group.take(one, one in served),
            group.most,
            numbered=not one_file,
        )
        if one_file:
            mark(conn, done, [answer for answer in done.marks if not answer.is_slow], None, clock.text(now))
        done.seconds = time.monotonic() - begin
        begun += done.claims
        touched |= done.due
    if not (group.results or begun or gone or done):
        prove_writable(conn)
    return Written(dropped, begun, gone, done, touched, *first_due_and_revision(conn, touched))
