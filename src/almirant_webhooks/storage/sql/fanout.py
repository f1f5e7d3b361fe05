"""Fans out: turns rows of the outbox into events with their deliveries, in one transaction of the database."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from ... import clock
from ...model import Trigger
from ...rules.erasing import ERASED_PAYLOAD
from ..engine import MAX_DELIVERIES, FanOut, Mark, OutboxRow
from . import erasing, filtering, order
from .allowance import Allowance
from .claiming import claim_of, open_all
from .duplicates import take_again
from .event import Event, event_of
from .filtering import Verdict, sift
from .matching import SUBSCRIBED, Webhooks, match, patterns_of
from .rendering import MAX_BYTES, Bodies
from .session import Session

_KNOWN = """
SELECT json_group_array(json_array(e.project_id, e.id, e.event_type, e.occurred_at, e.body, e.erased_at IS NOT NULL))
FROM json_each(?2) v CROSS JOIN events e ON e.project_id = json_extract(v.value, '$[0]') AND e.id = json_extract(v.value, '$[1]')
"""
_INSERT_EVENTS = """
INSERT INTO events (seq, project_id, id, event_type, occurred_at, created_at, body, unmatched)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
"""
_EVENT_TYPES = "int text text text time time text int"
_INSERT_DELIVERIES = """
INSERT INTO deliveries (id, event_seq, event_id, webhook_id, next_attempt_at, created_at, in_flight, begun, started_at,
                        generation, rendered)
SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL
"""
_DELIVERY_TYPES = "text int text text time time int int time int int"


def fan_out(
    conn: Session,
    rows: Sequence[OutboxRow],
    first_wait: timedelta,
    now: datetime,
    take: Callable[[str], bool] = lambda webhook: False,
    max_deliveries: int = MAX_DELIVERIES,
    *,
    allowance: Allowance | None = None,
) -> FanOut:
    """Insert events with their deliveries into the database; an event that is there already is a duplicate.

    Call it inside a transaction; it looks up the rows and `insert`s them.
    """
    found = look_up(conn, rows)
    with conn.at_once():
        return insert(conn, found, first_wait, now, take, max_deliveries, allowance=allowance)


class Found(NamedTuple):
    """What was looked up for rows of the outbox: numbers for their events, those that are there already, and the webhooks.

    Of webhooks whose keys cannot be opened `unopenable` has the reasons; they have no keys. `known` has type, time, body and
    erasure of events. A row that is no event has words instead.
    """

    read: Sequence[tuple[OutboxRow, Event | str]]
    numbers: Iterator[int]
    known: dict[tuple[str, str], Sequence[Any]]
    webhooks: Webhooks
    unopenable: dict[str, str]


def insert(
    conn: Session,
    found: Found,
    first_wait: timedelta,
    now: datetime,
    take: Callable[[str], bool],
    max_deliveries: int = MAX_DELIVERIES,
    *,
    allowance: Allowance | None = None,
) -> FanOut:
    """Insert the events of rows that were looked up in this transaction. Nothing is read: call it in a block of `at_once`.

    `first_wait` is the schedule's first wait. Deliveries to enabled webhooks begin at once if
    `take` gives a slot, within the `allowance` of webhooks with options of their own. A filter that does not match makes a verdict
    in place of a delivery. After `max_deliveries` of both, rows are left to the next call.
    """
    result, (read, numbers, known, webhooks, unopenable) = FanOut(), found
    result.unopenable = unopenable
    webhooks.tell(result)
    take = order.in_turn(_within(take, webhooks, allowance), webhooks.free)
    now_text, due_at = clock.text(now), clock.text(now + first_wait)
    new: list[tuple[object, ...]] = []
    deliveries = _NewDeliveries(result, webhooks, take, due_at, now)
    for row, event in read:
        if isinstance(event, str):
            result.marks.append(Mark(row, str(event)))
            continue
        key = (event.project_id, event.id)
        if key in known or event.payload.startswith(ERASED_PAYLOAD):
            take_again(result, row, event, known.get(key))
            continue
        body = event.body(event.occurred_at)
        known[key] = (event.event_type, event.occurred_at, body, 0)
        matching = webhooks.matching[event.project_id, event.event_type]
        seq = next(numbers)
        new.append((seq, *key, event.event_type, event.occurred_at, now_text, body, int(not matching)))
        deliveries.make(seq, event, body, matching)
        result.marks.append(Mark(row, None))
        result.unmatched += not matching
        result.types.append(event.event_type)
        if deliveries.size >= max_deliveries or deliveries.bodies.size >= MAX_BYTES:
            break
    if result.swallowed:
        erasing.note(conn, now_text)
    conn.write_rows(_INSERT_EVENTS, _EVENT_TYPES, new)
    deliveries.write(conn)
    result.failed, result.filtered_out = deliveries.bodies.failed, len(deliveries.filtered_out)
    result.events, result.deliveries = len(new), len(deliveries.rows)
    return result


class _NewDeliveries:
    """The deliveries of a batch: `rows` to insert, the `bodies` that templates make, and in `result` what begins and what is due.

    `filtered_out` are the verdicts of filters that made none.
    """

    def __init__(
        self, result: FanOut, webhooks: Webhooks, take: Callable[[str], bool], due_at: str, now: datetime
    ) -> None:
        self.rows: list[tuple[object, ...]] = []
        self.filtered_out: list[Verdict] = []
        self.bodies = Bodies()
        self._result = result
        self._webhooks = webhooks
        self._take = take
        self._due_at = due_at
        self._now = now
        self._now_text = clock.text(now)
        self._ids = delivery_ids(now)

    @property
    def size(self) -> int:
        """The number of deliveries and verdicts."""
        return len(self.rows) + len(self.filtered_out)

    def make(self, seq: int, event: Event, body: str, matching: Sequence[str]) -> None:
        """Make the deliveries of one event; `body` is its own."""
        own = body.encode()
        webhooks, rows, result = self._webhooks, self.rows, self._result
        for webhook in sift(webhooks.filters, matching, body, seq, self.filtered_out, self.bodies.read):
            delivery, keys = next(self._ids), webhooks.keys.get(webhook)
            place = (delivery, seq, event.id, webhook, self._due_at, self._now_text)
            generation, sent, rendered = webhooks.generations[webhook], own, 0
            if webhook in webhooks.templates:
                text = self.bodies.render(delivery, webhooks.templates[webhook], body)
                if text is None:
                    rows.append((*place, 0, 0, None, generation, 1))
                    continue
                if text is not body:
                    sent, rendered = text.encode(), 1
            if keys is not None and self._take(webhook):
                rows.append((*place, 1, 1, self._now_text, generation, rendered))
                fields = (event.id, event.event_type, sent, 1, Trigger.SCHEDULED)
                limited = webhook in webhooks.rate_limits
                result.claims.append(claim_of(webhook, delivery, *fields, keys, self._now, limited=limited))
            else:
                rows.append((*place, 0, 0, None, generation, rendered))
                result.due.add(webhook)

    def write(self, conn: Session) -> None:
        """Insert the deliveries, the verdicts and the bodies; their events are there."""
        conn.write_rows(_INSERT_DELIVERIES, _DELIVERY_TYPES, self.rows)
        filtering.keep(conn, self.filtered_out)
        self.bodies.write(conn)


def _within(take: Callable[[str], bool], webhooks: Webhooks, allowance: Allowance | None) -> Callable[[str], bool]:
    """Return a `take` that gives no webhook more than its options allow."""
    allowance = Allowance() if allowance is None else allowance
    # Most webhooks have no such option: they are not looked at one by one.
    bounded = webhooks.concurrency.keys() | webhooks.rate_limits.keys() | allowance.had_concurrency
    for webhook in bounded & webhooks.keys.keys():
        allowance.read(webhook, webhooks.concurrency.get(webhook), webhooks.rate_limits.get(webhook))
    if not allowance.bounds_any:
        return take

    def take_within(webhook: str) -> bool:
        if not (allowance.is_left(webhook) and take(webhook)):
            return False
        allowance.take(webhook)
        return True

    return take_within


def look_up(conn: Session, rows: Sequence[OutboxRow]) -> Found:
    """Look up what has to be known to insert the events of rows, in the transaction that does so."""
    read = [(row, event_of(row)) for row in rows]
    events = [event for _, event in read if isinstance(event, Event)]
    kinds = {(event.project_id, event.event_type) for event in events}
    keys = json.dumps([(event.project_id, event.id) for event in events])
    numbers, subscribed, there = conn.read_together((conn.event_numbers, SUBSCRIBED, _KNOWN), patterns_of(kinds), keys)
    known: dict[tuple[str, str], Sequence[Any]] = {(project, event): rest for project, event, *rest in there}
    webhooks = match(kinds, subscribed)
    return Found(read, _in_order(numbers), known, webhooks, open_all(conn.seals, webhooks.keys))


def delivery_ids(now: datetime) -> Iterator[str]:
    """Yield new delivery ids. Ids sort by time, so that new rows are close together in every index."""
    begin = f"dlv_{int(now.timestamp() * 1000):012x}"
    while True:
        random = secrets.token_hex(8 * 64)
        yield from (begin + random[at : at + 16] for at in range(0, len(random), 16))


def insert_test_event(
    conn: Session, project_id: str, event_type: str, payload: str, now: datetime
) -> tuple[int, str, str]:
    """Insert the sample event of a `webhook test`; return its row, id and body."""
    now_text = clock.text(now)
    event = Event(f"evt_test_{secrets.token_hex(12)}", project_id, event_type, now_text, payload)
    seq, body = next(_numbers(conn, 1)), event.body(now_text)
    conn.execute(
        "INSERT INTO events (seq, project_id, id, event_type, occurred_at, created_at, body, test) VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
        (seq, project_id, event.id, event_type, now_text, now_text, body),
    )
    return seq, event.id, body


def insert_own_events(conn: Session, events: Sequence[tuple[str, str, dict[str, object]]], now: datetime) -> set[str]:
    """Insert events that the service makes, each a project, a type and a payload, with their deliveries.

    An event without subscribers is left out. Return the webhooks that have something due by it.
    """
    kinds = {(project, kind) for project, kind, _ in events}
    found = match(kinds, conn.read_rows(SUBSCRIBED, patterns_of(kinds)) if events else ())
    numbers = _numbers(conn, len(events)) if any(found.matching.values()) else iter(())
    now_text, result = clock.text(now), FanOut()
    new: list[tuple[object, ...]] = []
    deliveries = _NewDeliveries(result, found, lambda webhook: False, now_text, now)
    for project, kind, payload in events:
        webhooks = found.matching[project, kind]
        if not webhooks:
            continue
        seq = next(numbers)
        text = json.dumps(payload, ensure_ascii=False)
        event = Event(f"evt_{secrets.token_hex(16)}", project, kind, now_text, text)
        body = event.body(now_text)
        new.append((seq, event.project_id, event.id, kind, now_text, now_text, body, 0))
        deliveries.make(seq, event, body, webhooks)
    conn.write_rows(_INSERT_EVENTS, _EVENT_TYPES, new)
    deliveries.write(conn)
    return result.due


def have_subscribers(conn: Session, kinds: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those pairs of project and event type that a webhook subscribes to."""
    rows = conn.read_rows(SUBSCRIBED, patterns_of(kinds)) if kinds else []
    return {kind for kind, listed in match(kinds, rows).matching.items() if listed}


def _numbers(conn: Session, count: int) -> Iterator[int]:
    return _in_order(conn.read_rows(conn.event_numbers, None, json.dumps([0] * count)))


def _in_order(numbers: Sequence[Sequence[int]]) -> Iterator[int]:
    return iter(sorted(number for (number,) in numbers))
