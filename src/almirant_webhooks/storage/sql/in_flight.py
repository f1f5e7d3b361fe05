"""Attempts in flight: until they end they have no row of their own, and are noted in their deliveries.

The request follows from the webhook and the event, as in `claiming`. Before a webhook's URL, secret or headers change, `keep_sent`
writes the request into the deliveries; of a webhook that is deleted nothing is kept. Call functions that write inside a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ... import clock
from ...model import Trigger
from ...ops.sealing import NoKey, Seals, Unopenable
from ...rules.signing import secrets_at, sign
from .rendering import BODY
from .sealed import NEXT_SECRET, SECRET, stored_headers
from .session import Session

_OPEN = f"""
SELECT d.id, d.webhook_id, d.begun, d.manual, coalesce(d.started_at, d.created_at),
       w.rate_limit IS NOT NULL AND d.test = 0, d.sent, d.test,
       e.event_type, {BODY}, w.url, w.secret, w.next_secret, w.switch_at, w.headers
FROM deliveries d LEFT JOIN events e ON e.seq = d.event_seq LEFT JOIN webhooks w ON w.id = d.webhook_id
WHERE d.in_flight = 1
"""
UNKNOWN = "[]"  # stored in `attempts` for headers that can no longer be known


class Open(NamedTuple):
    """An attempt in flight, with its URL and its headers as stored in `attempts`."""

    delivery_id: str
    webhook_id: str
    number: int
    trigger: Trigger
    started_at: str
    url: str
    headers: str
    limited: bool  # it counts in its webhook's rate limit


def all_open(conn: Session, webhooks: Collection[str] | None = None) -> list[Open]:
    """Return every attempt in flight, or those of some webhooks; `delivery.concurrency` of each daemon at most."""
    if webhooks is None:
        return [_open(conn, row) for row in conn.execute(_OPEN)]
    of_them = f"{_OPEN} AND d.webhook_id IN (SELECT value FROM json_each(?))"
    return [_open(conn, row) for row in conn.execute(of_them, (json.dumps(list(webhooks)),)).fetchall()]


def open_of(conn: Session, delivery_id: str) -> Open | None:
    """Return a delivery's attempt in flight, or None."""
    row = conn.execute(f"{_OPEN} AND d.id = ?", (delivery_id,)).fetchone()
    return _open(conn, row) if row else None


def keep_sent(conn: Session, webhook_id: str) -> None:
    """Store the requests of a webhook's attempts in flight. Call it before the URL, the secret or the headers change."""
    for row in conn.execute(f"{_OPEN} AND d.webhook_id = ? AND d.sent IS NULL", (webhook_id,)).fetchall():
        attempt = _open(conn, row)
        sent = json.dumps([attempt.url, attempt.headers])
        conn.execute("UPDATE deliveries SET sent = ? WHERE id = ?", (sent, attempt.delivery_id))


def keep_sent_of(conn: Session, delivery_id: str) -> None:
    """Store the request of a delivery's attempt in flight, if there is one. Call it before its body is erased."""
    attempt = open_of(conn, delivery_id)
    if attempt is not None:
        sent = json.dumps([attempt.url, attempt.headers])
        conn.execute("UPDATE deliveries SET sent = ? WHERE id = ?", (sent, delivery_id))


def _open(conn: Session, row: Sequence[Any]) -> Open:
    delivery_id, webhook_id, number, manual, started_at, limited, sent, *rest = row
    try:
        if sent is not None:
            url, headers = json.loads(sent)
        else:
            url, headers = _sent(conn.seals, webhook_id, delivery_id, number, started_at, rest)
    except (ValueError, TypeError):  # a row was changed by hand: no start may end by it
        url, headers = rest[3] or "", UNKNOWN
    trigger = Trigger.MANUAL if manual else Trigger.SCHEDULED
    return Open(delivery_id, webhook_id, number, trigger, started_at, url, headers, bool(limited))


def _sent(
    seals: Seals, webhook_id: str, delivery_id: str, number: int, started_at: str, row: Sequence[Any]
) -> tuple[str, str]:
    """Return URL and headers as webhook and event make them; `row` has the columns of `_OPEN` behind `sent`."""
    test, event_type, body, url, secret, next_secret, switch_at, webhook_headers = row
    if (
        not secret or url is None or body is None or event_type is None
    ):  # its webhook is deleted, or a row was removed by hand
        return url or "", UNKNOWN
    try:
        secret = seals.open(secret, webhook_id, SECRET)
        next_secret = next_secret and seals.open(next_secret, webhook_id, NEXT_SECRET)
    except (NoKey, Unopenable):  # who looks has no key, or the row was changed by hand
        return url, UNKNOWN
    at = clock.parse(started_at)
    secrets = secrets_at(secret, next_secret, switch_at, now=at)
    made = sign(
        url=url,
        secret=secrets.current,
        next_secret=secrets.next,
        last_secret=secrets.last,
        body=body.encode(),
        delivery_id=delivery_id,
        event_type=event_type,
        number=number,
        started_at=at,
        test=bool(test),
        webhook_headers=stored_headers(webhook_headers),
    )
    return url, made.packed
