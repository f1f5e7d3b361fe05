"""Claims due deliveries and begins their attempts; new ones begin in `fanout`. Call the functions inside a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ... import clock
from ...model import Claim, Trigger
from ...ops.sealing import Seals, Unopenable
from ...rules.signing import secrets_at
from . import order, rendering, revisions
from .allowance import Allowance
from .sealed import NEXT_SECRET, SECRET, open_headers
from .session import Session

# A condition on a delivery that waits in a resend of many: a replay has made it, and this is its first attempt. All others
# that wait there were attempted, or have ended.
IS_FIRST = "(state = 'pending' AND begun = 0)"
# What a webhook may begin: tests of one with a rate limit, which they do not wait for; then single resends and tests, then
# scheduled attempts, then bulk resends, then what replays have made. Discarded deliveries (`held`) and those of a cancelled
# resend are left out. Of an ordered webhook the next one alone is due, whoever made it; where a bulk resend wants it too, one
# attempt does for both.
_DUE = f"""
WITH asked (webhook, enabled, generation, concurrency, rate_limit, ordered, may_resend) AS MATERIALIZED (
    SELECT w.id, w.enabled, w.generation, {order.CONCURRENCY}, w.rate_limit, w.ordered,
        w.ordered IS NULL OR NOT {order.is_resending("w.id")}
    FROM json_each(?1) v CROSS JOIN webhooks w ON w.id = v.value WHERE w.deleted_at IS NULL)
SELECT json_group_array(json_array(webhook, turn, at, row, concurrency, rate_limit, ordered)) FROM (
SELECT a.webhook, -1 AS turn, d.resend_requested_at AS at, d.rowid AS row, a.concurrency, a.rate_limit, a.ordered
FROM asked a CROSS JOIN deliveries d ON d.rowid IN (
    SELECT r.rowid FROM deliveries r INDEXED BY deliveries_to_test WHERE r.webhook_id = a.webhook AND r.test = 1
    AND r.resend_requested_at IS NOT NULL AND r.in_flight = 0
    AND (r.state <> 'pending' OR r.generation = a.generation) LIMIT ?3)
WHERE a.rate_limit IS NOT NULL AND a.may_resend
UNION ALL
SELECT a.webhook, 0, d.resend_requested_at, d.rowid, a.concurrency, a.rate_limit, a.ordered
FROM asked a CROSS JOIN deliveries d ON d.rowid IN (
    SELECT r.rowid FROM deliveries r WHERE r.webhook_id = a.webhook AND r.resend_requested_at IS NOT NULL
    AND r.resend_id IS NULL AND r.in_flight = 0 AND (a.enabled OR r.test = 1)
    AND (r.state <> 'pending' OR r.generation = a.generation) ORDER BY r.resend_id, r.resend_requested_at LIMIT ?3)
WHERE a.may_resend
UNION ALL
SELECT a.webhook, 1, d.next_attempt_at, d.rowid, a.concurrency, a.rate_limit, a.ordered
FROM asked a CROSS JOIN deliveries d ON d.rowid IN (
    SELECT r.rowid FROM deliveries r WHERE r.webhook_id = a.webhook AND r.generation = a.generation
    AND r.state = 'pending' AND r.in_flight = 0
    AND r.next_attempt_at <= ?2 AND (r.resend_requested_at IS NULL OR r.resend_id IS NULL)
    ORDER BY r.next_attempt_at LIMIT ?3)
WHERE a.enabled AND a.ordered IS NULL
UNION ALL
SELECT a.webhook,
    CASE WHEN d.resend_requested_at IS NULL OR d.resend_id IS NULL THEN 1 WHEN {IS_FIRST} THEN 3
         WHEN a.may_resend AND NOT EXISTS (SELECT 1 FROM resends x WHERE x.id = d.resend_id AND x.cancelled_at IS NOT NULL) THEN 0
         ELSE 1 END,
    d.next_attempt_at, d.rowid, a.concurrency, a.rate_limit, a.ordered
FROM asked a CROSS JOIN deliveries d ON d.rowid = {order.first_waiting("a.webhook", "a.generation")}
WHERE a.ordered = 1 AND a.enabled AND d.next_attempt_at <= ?2 AND NOT {order.must_wait("a.webhook", "d.rowid")}
UNION ALL
SELECT a.webhook, iif({IS_FIRST}, 3, 2), d.resend_requested_at, d.rowid, a.concurrency, a.rate_limit, a.ordered
FROM asked a CROSS JOIN deliveries d ON d.rowid IN (
    SELECT r.rowid FROM deliveries r WHERE r.webhook_id = a.webhook AND r.resend_requested_at IS NOT NULL
    AND r.resend_id > '' AND r.in_flight = 0 AND (r.state <> 'pending' OR r.generation = a.generation)
    AND (a.ordered IS NULL OR NOT {IS_FIRST})
    AND NOT EXISTS (SELECT 1 FROM resends x WHERE x.id = r.resend_id AND x.cancelled_at IS NOT NULL) LIMIT ?3)
WHERE a.enabled AND a.may_resend)
"""
# An event's row number alone does not identify it: early releases gave that of a row that was deleted by hand to another event.
# The number of an attempt is above those that a delivery's row and its attempts have, whatever was changed by hand.
LAST_NUMBER = "max(d.begun, coalesce((SELECT max(a.number) FROM attempts a WHERE a.delivery_id = d.id), 0))"
_FIELDS = f"""
SELECT json_group_array(json_array(d.rowid, d.webhook_id, d.id, d.event_id, e.event_type, {rendering.BODY},
    {LAST_NUMBER}, d.test,
    w.url, w.secret, w.next_secret, w.switch_at, w.headers))
FROM json_each(?) v CROSS JOIN deliveries d ON d.rowid = CAST(v.value AS INTEGER)
CROSS JOIN events e ON e.seq = d.event_seq AND e.id = d.event_id CROSS JOIN webhooks w ON w.id = d.webhook_id
"""
_END_WITHOUT_EVENT = """
UPDATE deliveries SET state = iif(state = 'pending', 'cancelled', state),
    cancelled_reason = iif(state = 'pending', 'its event is gone from the database', cancelled_reason),
    next_attempt_at = NULL, resend_requested_at = NULL
WHERE rowid IN (SELECT CAST(value AS INTEGER) FROM json_each(?)) RETURNING id
"""
_BEGIN = """
WITH begun (number, started_at, manual, id) AS (VALUES {rows})
UPDATE deliveries SET in_flight = 1, begun = begun.number, started_at = begun.started_at, manual = begun.manual, sent = NULL,
    resend_requested_at = iif(begun.manual = 0 AND resend_id IS NOT NULL, NULL, resend_requested_at)
FROM begun WHERE deliveries.id = begun.id
"""
_BEGIN_TYPES = "int time int text"
_UNDO = """
WITH undone (number, id) AS (VALUES {rows})
UPDATE deliveries SET in_flight = 0, begun = undone.number - 1, started_at = NULL, manual = 0, sent = NULL
FROM undone WHERE deliveries.id = undone.id AND deliveries.begun = undone.number AND +in_flight = 1
"""
_UNDO_TYPES = "int text"
_TEST, _SCHEDULED = -1, (1, 3)
_BODY = 4  # its place in `_FIELDS`, behind the row


def claim(
    conn: Session,
    starts: Mapping[str, int],
    now: datetime,
    more: set[str] | None = None,
    gone: list[str] | None = None,
    allowance: Allowance | None = None,
    unopenable: dict[str, str] | None = None,
) -> list[Claim]:
    """Claim due deliveries, at most the wanted number for each webhook, and note in each that its attempt is in flight.

    The claims are in the order of the webhooks; those with more due are added to `more`. Enabled, URL, secret and headers
    are read in this transaction. Resends and tests come first, scheduled attempts next, bulk resends and replays last. A
    delivery whose event was deleted by hand is cancelled, with that reason, and added to `gone`. One without a body has it
    made, or has failed again. A webhook with options of its own gets no more than the `allowance` leaves. Of one whose secrets
    cannot be opened nothing is claimed; it is added to `unopenable` with the reason.
    An ordered webhook gets its next delivery, once nothing is under way that this has to wait for, and beside it one resend
    or test.
    """
    now_text = clock.text(now)
    due = conn.read_rows(_DUE, json.dumps(list(starts)), now_text, max(starts.values(), default=0) + 1)
    room, allowance = dict(starts), Allowance() if allowance is None else allowance
    for webhook, _, _, _, concurrency, rate_limit, _ in due:
        allowance.read(webhook, concurrency, rate_limit)
    place = {webhook: number for number, webhook in enumerate(starts)}
    chosen: dict[int, Trigger] = {}
    one_of_each: set[tuple[str, Trigger]] = set()  # ordered webhooks whose slot is given away
    for webhook, turn, _, row, _, _, ordered in sorted(due, key=lambda item: (place[item[0]], item)):
        trigger = Trigger.SCHEDULED if turn in _SCHEDULED else Trigger.MANUAL
        if row in chosen or (webhook, trigger) in one_of_each:  # due, and resent too
            continue
        is_test = turn == _TEST
        if room[webhook] > 0 and allowance.is_left(webhook, test=is_test):
            room[webhook] -= 1
            allowance.take(webhook, test=is_test)
            chosen[row] = trigger
            if ordered:
                one_of_each.add((webhook, trigger))
        elif more is not None:
            more.add(webhook)
    if not chosen:
        return []
    fields = {row: rest for row, *rest in conn.read_rows(_FIELDS, json.dumps(list(chosen)))}
    _render(conn, chosen, fields)
    claims = _claims(conn.seals, chosen, fields, now, allowance, {} if unopenable is None else unopenable)
    if len(fields) < len(chosen):
        without = json.dumps([row for row in chosen if row not in fields])
        ended = [str(item[0]) for item in conn.execute(_END_WITHOUT_EVENT, (without,)).fetchall()]
        if gone is not None:
            gone += ended
    conn.write_rows(
        _BEGIN,
        _BEGIN_TYPES,
        [(item.number, now_text, int(item.trigger is Trigger.MANUAL), item.delivery_id) for item in claims],
    )
    return claims


def _render(conn: Session, chosen: dict[int, Trigger], fields: dict[int, list[Any]]) -> None:
    """Make the bodies that are missing; what has none after it is no longer chosen."""
    missing = [row for row, values in fields.items() if values[_BODY] is None]
    made = rendering.render_anew(conn, missing) if missing else {}
    for row in missing:
        if row in made:
            fields[row][_BODY] = made[row]
        else:
            del fields[row], chosen[row]


def _claims(
    seals: Seals,
    chosen: Mapping[int, Trigger],
    fields: Mapping[int, list[Any]],
    now: datetime,
    allowance: Allowance,
    unopenable: dict[str, str],
) -> list[Claim]:
    """Return the claims of those chosen, and add webhooks whose secrets cannot be opened to `unopenable`."""
    claims = []
    for row, trigger in chosen.items():
        if row in fields:
            try:
                claims.append(_claim(seals, fields[row], trigger, now, allowance))
            except Unopenable as error:
                unopenable[fields[row][0]] = str(error)
    return claims


def open_keys(seals: Seals, webhook_id: str, keys: Sequence[Any]) -> list[Any]:
    """Return a webhook's URL, secret, next secret, switch and headers opened; raises `NoKey` or `Unopenable`."""
    url, secret, next_secret, switch_at, headers = keys
    if next_secret is not None:
        if switch_at is not None:
            _check_time(webhook_id, switch_at)
        next_secret = seals.open(next_secret, webhook_id, NEXT_SECRET)
    secret = seals.open(secret, webhook_id, SECRET)
    return [url, secret, next_secret, switch_at, open_headers(seals, webhook_id, headers)]


def _check_time(webhook_id: str, switch_at: str) -> None:
    try:
        clock.parse(switch_at)
    except ValueError:
        raise Unopenable(f"the time of the next secret of {webhook_id} cannot be read: rotate it anew.") from None


def open_all(seals: Seals, keys_of: dict[str, Sequence[Any]]) -> dict[str, str]:
    """Open the keys of webhooks; drop those that cannot be opened, and return why."""
    unopenable = {}
    for webhook, keys in list(keys_of.items()):
        try:
            keys_of[webhook] = open_keys(seals, webhook, keys)
        except Unopenable as error:
            unopenable[webhook] = str(error)
            del keys_of[webhook]
    return unopenable


def claim_of(
    webhook_id: str,
    delivery_id: str,
    event_id: str,
    event_type: str,
    body: bytes,
    number: int,
    trigger: Trigger,
    keys: Sequence[Any],
    now: datetime,
    *,
    test: bool = False,
    limited: bool = False,
) -> Claim:
    """Return a claim, to be signed by whoever sends it; `keys` are those of `open_keys`.

    `limited` says that the webhook has a rate limit, in which all but tests count.
    """
    url, secret, next_secret, switch_at, webhook_headers = keys
    current, following, last, _ = secrets_at(secret, next_secret, switch_at, now=now)
    return Claim(
        delivery_id, webhook_id, event_id, event_type, url, current, body, number, trigger, test, now,
        webhook_headers, limited and not test, following, last,
    )  # fmt: skip


def _claim(seals: Seals, row: list[Any], trigger: Trigger, now: datetime, allowance: Allowance) -> Claim:
    webhook_id, delivery_id, event_id, event_type, text, begun, test, *keys = row
    keys = open_keys(seals, webhook_id, keys)
    limited = allowance.has_rate_limit(webhook_id)
    return claim_of(
        webhook_id, delivery_id, event_id, event_type, text.encode(), begun + 1, trigger, keys, now, test=bool(test), limited=limited
    )  # fmt: skip


def undo(conn: Session, claims: Sequence[Claim]) -> None:
    """Take back the beginning of attempts that were never made: they are due again, with the same numbers. In a transaction."""
    if conn.write_rows(_UNDO, _UNDO_TYPES, [(claim.number, claim.delivery_id) for claim in claims]):
        revisions.bump_revision(conn)
