"""Deliveries and their attempts: claim, record, resend. Functions that write are called inside a transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .. import clock
from ..model import Claim, NotFound, Outcome, Refused, Result, State, Trigger
from ..retry import FREE_INTERRUPTIONS, Schedule
from ..signing import request_headers
from .webhooks import changed

_FIELDS = (
    "d.id, d.event_id, e.event_type, e.body, d.begun, e.test FROM deliveries d JOIN events e ON e.seq = d.event_seq"
)
_TO_RESEND = f"""
SELECT {_FIELDS} WHERE d.webhook_id = ? AND d.resend_requested_at IS NOT NULL AND d.in_flight = 0
AND (? OR e.test = 1) ORDER BY d.resend_requested_at LIMIT ?
"""
_DUE = f"""
SELECT {_FIELDS} WHERE d.webhook_id = ? AND d.state = 'pending' AND d.in_flight = 0 AND d.next_attempt_at <= ?
AND d.resend_requested_at IS NULL ORDER BY d.next_attempt_at LIMIT ?
"""
_FIRST_DUE = """
SELECT w.id,
       CASE WHEN w.enabled THEN (SELECT min(d.next_attempt_at) FROM deliveries d
           WHERE d.webhook_id = w.id AND d.state = 'pending' AND d.in_flight = 0) END,
       (SELECT count(*) FROM (SELECT 1 FROM deliveries d JOIN events e ON e.seq = d.event_seq
           WHERE d.webhook_id = w.id AND d.resend_requested_at IS NOT NULL AND d.in_flight = 0
           AND (w.enabled OR e.test = 1) LIMIT 1))
FROM webhooks w WHERE w.deleted_at IS NULL
"""
NOW = ""  # sorts before every time: due at once


def first_due(conn: sqlite3.Connection, webhook_ids: Iterable[str] | None = None) -> dict[str, str]:
    """Return when each webhook (of those given, or of all) has its next attempt; one with none is left out.

    `NOW` stands for a resend or a test that waits.
    """
    if webhook_ids is None:
        rows = conn.execute(_FIRST_DUE).fetchall()
    else:
        rows = [row for one in webhook_ids for row in conn.execute(f"{_FIRST_DUE} AND w.id = ?", (one,))]
    return {row[0]: NOW if row[2] else row[1] for row in rows if row[2] or row[1] is not None}


def claim(conn: sqlite3.Connection, wanted: Mapping[str, int], now: datetime) -> list[Claim]:
    """Take due deliveries, at most the wanted number for each webhook, and write an attempt row for each.

    Enabled, URL and secret are read in this transaction. Resends and tests go before the schedule.
    """
    claims: list[Claim] = []
    written = clock.text(now)
    for webhook_id, count in wanted.items():
        webhook = conn.execute(
            "SELECT url, secret, enabled FROM webhooks WHERE id = ? AND deleted_at IS NULL", (webhook_id,)
        ).fetchone()
        if webhook is None:
            continue
        url, secret, enabled = webhook
        rows = [(row, Trigger.MANUAL) for row in conn.execute(_TO_RESEND, (webhook_id, enabled, count))]
        if enabled and len(rows) < count:
            due = conn.execute(_DUE, (webhook_id, written, count - len(rows)))
            rows += [(row, Trigger.SCHEDULED) for row in due]
        claims += [_claim(row, trigger, webhook_id, url, secret, now) for row, trigger in rows]
    conn.executemany(
        "UPDATE deliveries SET in_flight = 1, begun = ? WHERE id = ?", [(one.number, one.delivery_id) for one in claims]
    )
    conn.executemany(
        "INSERT INTO attempts (delivery_id, number, trigger, started_at, url, request_headers) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (one.delivery_id, one.number, one.trigger, written, one.url, json.dumps(one.headers, ensure_ascii=False))
            for one in claims
        ],
    )
    return claims


def _claim(row: sqlite3.Row, trigger: Trigger, webhook_id: str, url: str, secret: str, now: datetime) -> Claim:
    delivery_id, event_id, event_type, text, begun, test = row
    body = text.encode()
    number = begun + 1
    headers = request_headers(
        url=url,
        secret=secret,
        body=body,
        delivery_id=delivery_id,
        event_type=event_type,
        number=number,
        started_at=now,
        test=bool(test),
    )
    return Claim(
        delivery_id, webhook_id, event_id, event_type, url, secret, body, number, trigger, bool(test), now, headers
    )


def record(conn: sqlite3.Connection, results: Sequence[Result], schedule: Schedule) -> int:
    """Write how attempts ended and when the next ones are; return how many were dropped as their webhook is gone.

    An attempt that is recorded already is left as it is.
    """
    dropped = 0
    for result in results:
        one = result.claim
        written = conn.execute(
            "UPDATE attempts SET outcome = ?, duration_ms = ?, status_code = ?, cause = ?, response_headers = ?, "
            "response_body = ?, response_body_cut = ? WHERE delivery_id = ? AND number = ? AND outcome IS NULL",
            (
                result.outcome,
                result.duration_ms,
                result.status_code,
                result.cause,
                json.dumps(result.response_headers, ensure_ascii=False) if result.response_headers else None,
                result.response_body or None,
                result.body_cut,
                one.delivery_id,
                one.number,
            ),
        )
        if not written.rowcount:
            dropped += 1
            continue
        _settle(
            conn,
            schedule,
            one.delivery_id,
            one.number,
            one.trigger,
            result.outcome,
            result.finished_at,
            result.retry_after,
        )
    return dropped


def _settle(
    conn: sqlite3.Connection,
    schedule: Schedule,
    delivery_id: str,
    number: int,
    trigger: Trigger,
    outcome: Outcome,
    finished_at: datetime,
    retry_after: float | None,
) -> None:
    """Turn one outcome into the delivery's state, schedule and counts: the table of the contract's section 4."""
    state, next_attempt_at, resend, tries, interruptions, test = conn.execute(
        "SELECT d.state, d.next_attempt_at, d.resend_requested_at, d.tries, d.interruptions, e.test "
        "FROM deliveries d JOIN events e ON e.seq = d.event_seq WHERE d.id = ?",
        (delivery_id,),
    ).fetchone()
    interrupted = outcome is Outcome.INTERRUPTED
    interruptions += interrupted
    free = interrupted and interruptions <= FREE_INTERRUPTIONS
    if trigger is Trigger.MANUAL and not free:
        resend = None
    if outcome is Outcome.SUCCESS:
        state, next_attempt_at = State.SUCCEEDED, None
        tries += trigger is Trigger.SCHEDULED
    elif trigger is Trigger.SCHEDULED and state == State.PENDING:
        if free:
            next_attempt_at = clock.text(finished_at)
        else:
            tries += 1
            later = schedule.next_attempt_at(tries, finished_at, retry_after)
            next_attempt_at = clock.text(later) if later else None
            state = State.PENDING if later else State.FAILED
    elif trigger is Trigger.SCHEDULED:
        tries += not free
    elif test and not free and state == State.PENDING:
        state = State.FAILED
    conn.execute(
        "UPDATE deliveries SET state = ?, next_attempt_at = ?, resend_requested_at = ?, in_flight = 0, "
        "attempts = attempts + 1, tries = ?, interruptions = ?, last_number = ? WHERE id = ?",
        (state, next_attempt_at, resend, tries, interruptions, number, delivery_id),
    )


def interrupt_open(conn: sqlite3.Connection, schedule: Schedule, now: datetime) -> int:
    """Record every attempt that a crash left open as interrupted; return how many. Called once, before the first claim."""
    open_attempts = conn.execute(
        "SELECT a.delivery_id, a.number, a.trigger FROM deliveries d JOIN attempts a ON a.delivery_id = d.id "
        "AND a.number = d.begun WHERE d.in_flight = 1"
    ).fetchall()
    for delivery_id, number, trigger in open_attempts:
        conn.execute(
            "UPDATE attempts SET outcome = 'interrupted', cause = 'the daemon stopped during this attempt' "
            "WHERE delivery_id = ? AND number = ? AND outcome IS NULL",
            (delivery_id, number),
        )
        _settle(conn, schedule, delivery_id, number, Trigger(trigger), Outcome.INTERRUPTED, now, None)
    return len(open_attempts)


def request_resend(conn: sqlite3.Connection, delivery_id: str, now: datetime) -> bool:
    """Ask for one manual attempt as soon as none is in flight; False when one waits already."""
    row = conn.execute(
        "SELECT d.resend_requested_at, w.enabled, w.id FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id "
        "WHERE d.id = ? AND w.deleted_at IS NULL",
        (delivery_id,),
    ).fetchone()
    if row is None:
        raise NotFound(f"There is no delivery {delivery_id}.", "id")
    if not row[1]:
        raise Refused(f"Webhook {row[2]} is disabled; enable it first (`almirant-webhooks webhook enable {row[2]}`).")
    if row[0] is not None:
        return False
    conn.execute("UPDATE deliveries SET resend_requested_at = ? WHERE id = ?", (clock.text(now), delivery_id))
    changed(conn)
    return True


def resend_done(conn: sqlite3.Connection, delivery_id: str) -> dict[str, Any] | None:
    """Return the last finished attempt of a delivery once no resend or test of it waits, else None."""
    row = conn.execute(
        "SELECT a.* FROM deliveries d JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number "
        "WHERE d.id = ? AND d.resend_requested_at IS NULL AND d.in_flight = 0",
        (delivery_id,),
    ).fetchone()
    return dict(row) if row else None


def cancel_held(conn: sqlite3.Connection, held_since: datetime, limit: int) -> int:
    """Cancel deliveries that have been held since before a time, at most `limit`; return how many."""
    before = clock.text(held_since)
    return conn.execute(
        "UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, resend_requested_at = NULL, "
        "cancelled_reason = 'held longer than retention.held' WHERE id IN (SELECT d.id FROM deliveries d "
        "JOIN webhooks w ON w.id = d.webhook_id WHERE w.enabled = 0 AND w.disabled_at <= ?1 AND d.created_at <= ?1 "
        "AND d.state = 'pending' AND d.in_flight = 0 LIMIT ?2)",
        (before, limit),
    ).rowcount


def erase_deleted(conn: sqlite3.Connection, limit: int) -> int:
    """Erase rows of deleted webhooks, at most `limit` deliveries, a webhook's own row last; return how many rows went."""
    row = conn.execute("SELECT id FROM webhooks WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT 1").fetchone()
    if row is None:
        return 0
    ids = conn.execute("SELECT id FROM deliveries WHERE webhook_id = ? LIMIT ?", (row[0], limit)).fetchall()
    if not ids:
        conn.execute("DELETE FROM subscriptions WHERE webhook_id = ?", (row[0],))
        return conn.execute("DELETE FROM webhooks WHERE id = ?", (row[0],)).rowcount
    conn.executemany("DELETE FROM attempts WHERE delivery_id = ?", [tuple(one) for one in ids])
    conn.executemany("DELETE FROM deliveries WHERE id = ?", [tuple(one) for one in ids])
    return len(ids)
