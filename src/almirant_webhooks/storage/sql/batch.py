"""Writes one batch: it records results, claims due deliveries, and fans out rows of the outbox, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Protocol

from ... import clock
from ...rules.retry import Schedule
from ..engine import FanOut, Mark, OutboxRow, ReadPlan, Work, WrittenBatch
from .allowance import Allowance
from .claiming import claim
from .deliveries import first_due_and_revision
from .disabling import disable_unopenable
from .fanout import insert, look_up
from .health import report_failed
from .results import judge, write_ended
from .session import Session

# Tests are claimed while their webhook is disabled: those of one whose secret cannot be opened would be claimed for ever.
_END_TESTS = """
UPDATE deliveries SET state = iif(state = 'pending', 'cancelled', state),
    cancelled_reason = iif(state = 'pending', ?2, cancelled_reason), resend_requested_at = NULL
WHERE rowid IN (SELECT rowid FROM deliveries INDEXED BY deliveries_to_test
    WHERE webhook_id = ?1 AND test = 1 AND resend_requested_at IS NOT NULL AND in_flight = 0 LIMIT 100)
"""

_NUMBER = "UPDATE database_meta SET batch = batch + 1 RETURNING batch"
# An empty transaction would succeed on a full disk too.
PROVE_WRITABLE = "UPDATE database_meta SET batch = batch"


class OutboxInside(Protocol):
    """An outbox in the database: its rows are read and marked in the transaction that takes them."""

    def read(self, conn: Any, plan: ReadPlan, /) -> Sequence[OutboxRow]:
        """Return rows that wait: projects take turns, and each one's oldest come first."""

    def mark(self, conn: Any, fan_out: FanOut, marks: list[Mark], now: str, /) -> None:
        """Write answers into rows that were read in this transaction, and so cannot have changed."""


def write(conn: Session, work: Work, schedule: Schedule, now: datetime, outbox: OutboxInside) -> WrittenBatch:
    """Record, claim and fan out, inside a transaction; rows of an outbox in the same file are marked too, except slow ones.

    Nothing leaves before its commit. `now` must be a time in it, so that each webhook seen is older, as `event show` relies on.
    """
    one_file = work.to_read is not None
    touched = set(work.starts)
    ended = judge(conn, work.results, schedule, touched) if work.results else None
    dropped = ended.dropped if ended else 0
    if ended and work.starts:  # what may begin depends on it
        write_ended(conn, ended)
        ended = None
    more: set[str] = set()
    gone: list[str] = []
    unopenable: dict[str, str] = {}
    allowance = Allowance.of(work)
    begun = claim(conn, work.starts, now, more, gone, allowance, unopenable) if work.starts else []
    served = work.starts.keys() - more

    def take(webhook: str) -> bool:
        return work.take_slot(webhook, webhook in served)

    rows = outbox.read(conn, work.to_read) if work.to_read is not None else work.rows
    fanned_out, begin = None, time.monotonic()
    found = look_up(conn, rows) if rows else None
    if ended and found and found.webhooks.free:  # an ordered webhook may be free then
        write_ended(conn, ended)
        ended, found = None, look_up(conn, rows)
    # All is read: a server writes what has ended while the deliveries are put together.
    with conn.at_once() if ended or found else nullcontext():
        if ended:
            ended.write(conn)
        if found:
            wait, most = schedule.waits[0], work.max_deliveries
            fanned_out = insert(conn, found, wait, now, take, most, allowance=allowance)
            begun += fanned_out.claims
        if begun:
            work.prepare(begun)
    if ended:
        ended.tell(conn)
    if fanned_out:
        if fanned_out.failed:
            report_failed(conn, fanned_out.failed, now)
        if one_file:
            quick = [row_mark for row_mark in fanned_out.marks if not row_mark.is_slow]
            outbox.mark(conn, fanned_out, quick, clock.text(now))
        fanned_out.seconds = time.monotonic() - begin
        touched |= fanned_out.due
        unopenable |= fanned_out.unopenable
    _disable(conn, unopenable, now)
    touched |= unopenable.keys()
    if not (work.results or begun or gone or fanned_out):
        conn.execute(PROVE_WRITABLE)
    attempted = {result.claim.webhook_id for result in work.results}
    due, revision = first_due_and_revision(conn, touched, attempted)
    if (
        fanned_out and not one_file
    ):  # last of all: batches of other daemons wait for that row until this one is committed
        fanned_out.batch = int(conn.execute(_NUMBER).fetchone()[0])
    return WrittenBatch(dropped, begun, gone, fanned_out, touched, due, revision, unopenable)


def _disable(conn: Session, unopenable: Mapping[str, str], now: datetime) -> None:
    """Disable webhooks whose secrets cannot be opened; the reasons are sentences."""
    for webhook, sentence in unopenable.items():
        reason = f"{sentence[:1].lower()}{sentence[1:].removesuffix('.')}"  # as a part of others
        disable_unopenable(conn, webhook, reason, now)
        conn.execute(_END_TESTS, (webhook, reason))
