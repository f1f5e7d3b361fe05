"""Records results of attempts and updates their deliveries. Call the functions inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from ... import clock
from ...model import Headers, Outcome, Result, State, Trigger
from ...rules.retry import FREE_INTERRUPTIONS, Schedule
from ...rules.signing import signed
from ..engine import LastEnd
from .counting import count
from .health import report_failed
from .in_flight import Open, all_open
from .session import Session

# `+`: by their ids, and not by the index of all that is in flight, which an engine may take for a short one.
_IN_FLIGHT = """
SELECT json_group_array(json_array(d.id, d.webhook_id, d.begun, d.state, d.next_attempt_at, d.resend_requested_at,
                                   d.tries, d.interruptions, d.test, d.erased))
FROM json_each(?) v CROSS JOIN deliveries d ON d.id = v.value WHERE +d.in_flight = 1
"""
_INSERT_ATTEMPTS = """
INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, cause, url, request_headers,
    response_headers, response_body, response_body_cut, limited_webhook)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
ON CONFLICT DO NOTHING
"""
_ATTEMPT_TYPES = "text int text time int text int text text text text bytes int text"
_SETTLE = """
WITH settled (state, next_attempt_at, resend, tries, interruptions, number, status, id) AS (VALUES {rows})
UPDATE deliveries SET state = settled.state, next_attempt_at = settled.next_attempt_at,
    resend_requested_at = settled.resend, in_flight = 0, started_at = NULL, manual = 0, sent = NULL, attempts = attempts + 1, tries = settled.tries,
    interruptions = settled.interruptions, last_number = settled.number,
    last_status = settled.status
FROM settled WHERE deliveries.id = settled.id
"""
_SETTLE_TYPES = "text time time int int int text text"


# Of the newest attempts of all webhooks together: whoever is not among them has not had many lately.
_LAST_ENDS = f"""
SELECT json_group_array(json_array(place, webhook_id, outcome = '{Outcome.TIMEOUT.value}', duration_ms))
FROM (SELECT a.rowid AS place, d.webhook_id, a.outcome, a.duration_ms
      FROM (SELECT rowid, delivery_id, outcome, duration_ms FROM attempts ORDER BY rowid DESC LIMIT ?) a
      CROSS JOIN deliveries d ON d.id = a.delivery_id
      WHERE a.duration_ms IS NOT NULL AND a.outcome <> '{Outcome.INTERRUPTED.value}')
"""
NEWEST = 4096  # attempts that are looked at after a start, some 20 ms

encode = json.JSONEncoder(ensure_ascii=False).encode  # `json.dumps` makes an encoder anew for every call


@lru_cache(maxsize=256)
def written(headers: Headers) -> str:
    """Return headers as the JSON that is stored, cached: the answers of a receiver within a second have the same headers."""
    return encode(headers)


class _Delivery(NamedTuple):
    """A delivery whose attempt `begun` is in flight, as it stands before that attempt's end."""

    id: str
    webhook_id: str
    begun: int
    state: str
    next_attempt_at: str | None
    resend: str | None
    tries: int
    interruptions: int
    test: int
    erased: int


class _Settled(NamedTuple):
    """A delivery as it stands after that end."""

    state: str
    next_attempt_at: str | None
    resend: str | None
    tries: int
    interruptions: int
    number: int


class Ended(NamedTuple):
    """Attempts that have ended, and how their deliveries stand then: found out, and not written yet.

    `dropped` results are of attempts that are in flight no longer: the webhook is gone, or they are recorded already. `given_up`
    are deliveries that have failed for good.
    """

    recorded: Sequence[Result]
    settled: Sequence[tuple[object, ...]]
    given_up: Sequence[str]
    dropped: int

    def write(self, conn: Session) -> None:
        """Write attempts, deliveries and counts; nothing is read, so it can stand in a block of `at_once`."""
        conn.write_rows(_INSERT_ATTEMPTS, _ATTEMPT_TYPES, [_attempt(result) for result in self.recorded])
        conn.write_rows(_SETTLE, _SETTLE_TYPES, self.settled)
        counted = [result for result in self.recorded if result.outcome is not Outcome.INTERRUPTED]
        count(conn, counted, set(self.given_up))

    def tell(self, conn: Session) -> None:
        """Tell operators and projects of the deliveries that have failed for good; all else is written."""
        if self.given_up:
            report_failed(conn, self.given_up, max(result.finished_at for result in self.recorded))


def record(conn: Session, results: Sequence[Result], schedule: Schedule, to_come: set[str] | None = None) -> int:
    """Write how attempts ended and when the next ones are; return how many were dropped, as they are in flight no longer.

    An attempt that is recorded already is left as it is. Webhooks that are to have another attempt are added to `to_come`.
    """
    ended = judge(conn, results, schedule, to_come)
    write_ended(conn, ended)
    return ended.dropped


def write_ended(conn: Session, ended: Ended) -> None:
    """Write what `judge` has found out, and tell of it."""
    with conn.at_once():
        ended.write(conn)
    ended.tell(conn)


def judge(conn: Session, results: Sequence[Result], schedule: Schedule, to_come: set[str] | None = None) -> Ended:
    """Find out what `record` has to write."""
    delivery_ids = json.dumps([result.claim.delivery_id for result in results])
    in_flight = {row[0]: _Delivery(*row) for row in conn.read_rows(_IN_FLIGHT, delivery_ids)}
    recorded: list[Result] = []
    settled: list[tuple[object, ...]] = []
    pending: set[str] = set()
    for result in results:
        claim = result.claim
        delivery = in_flight.get(claim.delivery_id)
        if delivery is None or delivery.begun != claim.number:
            continue
        del in_flight[claim.delivery_id]
        if delivery.erased:  # a late answer may repeat what was erased
            result = result._replace(response_headers=(), response_body=b"", body_cut=False)
        recorded.append(result)
        if delivery.state == State.PENDING:
            pending.add(delivery.id)
        retry_after, free = result.retry_after, result.free
        after = _settle(delivery, schedule, claim.trigger, result.outcome, result.finished_at, retry_after, free=free)
        if to_come is not None and (after.next_attempt_at is not None or after.resend is not None):
            to_come.add(claim.webhook_id)
        status = result.outcome.value.replace("_", " ") if result.status_code is None else str(result.status_code)
        settled.append((*after, status, delivery.id))
    return Ended(recorded, settled, _given_up(settled, pending), len(results) - len(recorded))


def interrupt_open(conn: Session, schedule: Schedule, now: datetime, webhooks: Collection[str] | None = None) -> int:
    """Record every attempt that a crash left open as interrupted, or those of some webhooks; return how many.

    A daemon alone does so before its first claim, one of several whenever it takes projects.
    """
    left = {attempt.delivery_id: attempt for attempt in all_open(conn, webhooks)}
    deliveries = [_Delivery(*row) for row in conn.read_rows(_IN_FLIGHT, json.dumps(list(left)))]
    conn.write_rows(_INSERT_ATTEMPTS, _ATTEMPT_TYPES, [_interrupted(attempt) for attempt in left.values()])
    settled = [
        (
            *_settle(delivery, schedule, left[delivery.id].trigger, Outcome.INTERRUPTED, now, None),
            Outcome.INTERRUPTED.value,
            delivery.id,
        )
        for delivery in deliveries
    ]
    conn.write_rows(_SETTLE, _SETTLE_TYPES, settled)
    pending = {delivery.id for delivery in deliveries if delivery.state == State.PENDING}
    if given_up := _given_up(settled, pending):
        report_failed(conn, given_up, now)
    return len(left)


def last_ends(conn: Session, newest: int = NEWEST) -> list[LastEnd]:
    """Return how the last attempts of webhooks ended, in their order, among the newest `NEWEST` attempts."""
    rows = sorted(conn.read_rows(_LAST_ENDS, newest))
    return list({webhook: LastEnd(webhook, bool(timed_out), ms) for _, webhook, timed_out, ms in rows}.values())


def _given_up(settled: Iterable[tuple[object, ...]], pending: set[str]) -> list[str]:
    """Return which of the deliveries that were pending have failed for good."""
    return [str(row[-1]) for row in settled if row[0] == State.FAILED and row[-1] in pending]


def _attempt(result: Result) -> tuple[object, ...]:
    """Write an attempt that has ended as the columns of `_INSERT_ATTEMPTS`."""
    claim = signed(result.claim)  # it is already, unless a fault of ours came before
    headers = written(result.response_headers) if result.response_headers else None
    return (
        claim.delivery_id,
        claim.number,
        claim.trigger.value,
        clock.text(claim.started_at),
        result.duration_ms,
        result.outcome.value,
        result.status_code,
        result.cause,
        claim.url,
        claim.packed,
        headers,
        result.response_body or None,
        int(result.body_cut),
        claim.webhook_id if claim.limited else None,
    )


def _interrupted(attempt: Open) -> tuple[object, ...]:
    """Write an attempt that a crash left open as the columns of `_INSERT_ATTEMPTS`."""
    cause = "the daemon stopped during this attempt"
    begun = (attempt.delivery_id, attempt.number, attempt.trigger.value, attempt.started_at)
    limited_webhook = attempt.webhook_id if attempt.limited else None
    ended = (None, Outcome.INTERRUPTED.value, None, cause, attempt.url, attempt.headers, None, None, 0)
    return (*begun, *ended, limited_webhook)


def _settle(
    delivery: _Delivery,
    schedule: Schedule,
    trigger: Trigger,
    outcome: Outcome,
    finished_at: datetime,
    retry_after: float | None,
    *,
    free: bool = False,
) -> _Settled:
    """Return a delivery's state, schedule and counts after one outcome, by the table in the contract, section 4."""
    _, _, number, state, next_attempt_at, resend, tries, interruptions, test, _ = delivery
    if outcome is Outcome.INTERRUPTED and not free:
        interruptions += 1
        free = interruptions <= FREE_INTERRUPTIONS
    at_once = free and not retry_after
    if trigger is Trigger.MANUAL and not at_once:
        resend = None
    if outcome is Outcome.SUCCESS:
        state, next_attempt_at = State.SUCCEEDED.value, None
        tries += trigger is Trigger.SCHEDULED
    elif trigger is Trigger.SCHEDULED and state == State.PENDING:
        if free:
            next_attempt_at = clock.text(finished_at + timedelta(seconds=retry_after or 0))
        else:
            tries += 1
            later = schedule.next_attempt_at(tries, finished_at, retry_after)
            next_attempt_at = clock.text(later) if later else None
            state = (State.PENDING if later else State.FAILED).value
    elif trigger is Trigger.SCHEDULED:
        tries += not free
    elif test and not at_once and state == State.PENDING:
        state = State.FAILED.value
    return _Settled(state, next_attempt_at, resend, tries, interruptions, number)
