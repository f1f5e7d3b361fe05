"""Writes one batch: it records results, claims due deliveries, and fans out rows of the outbox, in one transaction."""

from __future__ import annotations

import sqlite3
import time
from datetime import datetime

from ... import clock
from ...model import SERVICE
from ...rules.retry import Schedule
from ..engine import Work, WrittenBatch
from .allowance import Allowance
from .claiming import claim
from .connection import prove_writable
from .deliveries import first_due_and_revision
from .fanout import fan_out
from .health import report_failed
from .marking import mark
from .results import record
from .unread import read_unread
from .webhooks import disable

# Tests are claimed while their webhook is disabled: those of one whose secret cannot be opened would be claimed for ever.
_END_TESTS = """
UPDATE deliveries SET state = iif(state = 'pending', 'cancelled', state),
    cancelled_reason = iif(state = 'pending', ?2, cancelled_reason), resend_requested_at = NULL
WHERE rowid IN (SELECT rowid FROM deliveries INDEXED BY deliveries_to_test
    WHERE webhook_id = ?1 AND test = 1 AND resend_requested_at IS NOT NULL AND in_flight = 0 LIMIT 100)
"""


def write(conn: sqlite3.Connection, work: Work, schedule: Schedule, now: datetime) -> WrittenBatch:
    """Record, claim and fan out, inside a transaction; rows of an outbox in the same file are marked too, except slow ones.

    `now` must be a time within the transaction, so that each webhook that it sees is older: `event show` relies on that.
    """
    one_file = work.to_read is not None
    touched = set(work.starts)
    dropped = record(conn, work.results, schedule, touched) if work.results else 0
    more: set[str] = set()
    gone: list[str] = []
    unopenable: dict[str, str] = {}
    allowance = Allowance.of(work)
    begun = claim(conn, work.starts, now, more, gone, allowance, unopenable) if work.starts else []
    served = work.starts.keys() - more
    rows = read_unread(conn, work.to_read) if work.to_read is not None else work.rows
    fanned_out = None
    if rows:
        begin = time.monotonic()
        wait = schedule.waits[0]
        fanned_out = fan_out(
            conn,
            rows,
            wait,
            now,
            lambda webhook: work.take_slot(webhook, webhook in served),
            work.max_deliveries,
            numbered=not one_file,
            allowance=allowance,
        )
        if fanned_out.failed:
            report_failed(conn, fanned_out.failed, now)
        if one_file:
            quick = [row_mark for row_mark in fanned_out.marks if not row_mark.is_slow]
            mark(conn, fanned_out, quick, None, clock.text(now), just_read=True)
        fanned_out.seconds = time.monotonic() - begin
        begun += fanned_out.claims
        touched |= fanned_out.due
        unopenable |= fanned_out.unopenable
    for webhook, reason in unopenable.items():
        disable(conn, webhook, now, actor=SERVICE, detail=reason)
        conn.execute(_END_TESTS, (webhook, reason))
        touched.add(webhook)
    if not (work.results or begun or gone or fanned_out):
        prove_writable(conn)
    ended = {result.claim.webhook_id for result in work.results}
    due, revision = first_due_and_revision(conn, touched, ended)
    return WrittenBatch(dropped, begun, gone, fanned_out, touched, due, revision, unopenable)
