"""Fan out: from rows of the outbox to an event and its deliveries, in one transaction of the database."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from .. import clock
from ..event_types import is_well_formed, patterns_for
from ..model import EVENT_ID_PATTERN, MAX_PAYLOAD_BYTES, PROJECT_ID_PATTERN
from .outbox import Mark, OutboxRow

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(slots=True)
class FanOut:
    """What one batch came to: the answers for the outbox, the webhooks that have something due, and counts."""

    batch: int = 0
    marks: list[Mark] = field(default_factory=list)
    due: set[str] = field(default_factory=set)
    events: int = 0
    deliveries: int = 0
    duplicates: int = 0
    unmatched: int = 0
    types: list[str] = field(default_factory=list)

    @property
    def rejected(self) -> list[Mark]:
        """The rows that were refused, each with its reason."""
        return [answer for answer in self.marks if answer.rejected_reason]


@dataclass(frozen=True, slots=True)
class _Event:
    id: str
    project_id: str
    event_type: str
    occurred_at: str
    payload: str

    def body(self, occurred_at: str) -> str:
        """Write the request's body: the payload stands in it as its producer wrote it."""
        return (
            f'{{"id": "{self.id}", "type": "{self.event_type}", "timestamp": "{occurred_at}", '
            f'"projectId": {json.dumps(self.project_id)}, "data": {self.payload}}}'
        )


def fan_out(conn: sqlite3.Connection, rows: Sequence[OutboxRow], first_wait: timedelta, now: datetime) -> FanOut:
    """Copy events with their deliveries into the database; an event that is there already is not taken twice.

    Call it inside a transaction. `first_wait` is the schedule's first wait.
    """
    done = FanOut()
    done.batch = conn.execute("UPDATE database_meta SET batch = batch + 1 RETURNING batch").fetchone()[0]
    matching: dict[tuple[str, str], list[str]] = {}
    written = clock.text(now)
    first = clock.text(now + first_wait)
    deliveries: list[tuple[str, int, str, str, str, str]] = []
    for row in rows:
        event = _read(row)
        if isinstance(event, str):
            done.marks.append(Mark(row, event))
            continue
        known = conn.execute(
            "SELECT event_type, occurred_at, body FROM events WHERE project_id = ? AND id = ?",
            (event.project_id, event.id),
        ).fetchone()
        if known is not None:
            same = known[0] == event.event_type and known[2] == event.body(known[1])
            done.duplicates += same
            done.marks.append(
                Mark(row, None if same else "event_id is already used in this project with other content")
            )
            continue
        key = (event.project_id, event.event_type)
        if key not in matching:
            matching[key] = _matching_webhooks(conn, *key)
        seq = _insert_event(conn, event, written, unmatched=not matching[key])
        deliveries += [(delivery_id(now), seq, event.id, webhook, first, written) for webhook in matching[key]]
        done.marks.append(Mark(row, None))
        done.events += 1
        done.unmatched += not matching[key]
        done.due.update(matching[key])
        done.types.append(event.event_type)
    conn.executemany(
        "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, next_attempt_at, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        deliveries,
    )
    done.deliveries = len(deliveries)
    return done


def delivery_id(now: datetime) -> str:
    """Return a new delivery id; ids of later times sort later, so that new rows stand together in every index."""
    return f"dlv_{int(now.timestamp() * 1000):012x}{secrets.token_hex(8)}"


def insert_test_event(
    conn: sqlite3.Connection, project_id: str, event_type: str, payload: str, now: datetime
) -> tuple[int, str]:
    """Insert the sample event of a `webhook test`; return its row and id."""
    written = clock.text(now)
    event = _Event(f"evt_test_{secrets.token_hex(12)}", project_id, event_type, written, payload)
    return _insert_event(conn, event, written, unmatched=False, test=True), event.id


def _insert_event(
    conn: sqlite3.Connection, event: _Event, created_at: str, *, unmatched: bool, test: bool = False
) -> int:
    row = conn.execute(
        "INSERT INTO events (id, project_id, event_type, occurred_at, created_at, body, unmatched, test) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.id,
            event.project_id,
            event.event_type,
            event.occurred_at,
            created_at,
            event.body(event.occurred_at),
            unmatched,
            test,
        ),
    )
    return int(row.lastrowid or 0)


def _matching_webhooks(conn: sqlite3.Connection, project_id: str, event_type: str) -> list[str]:
    patterns = patterns_for(event_type)
    marks = ", ".join("?" * len(patterns))
    rows = conn.execute(
        "SELECT DISTINCT w.id FROM webhooks w JOIN subscriptions s ON s.webhook_id = w.id "
        f"WHERE w.project_id = ? AND w.deleted_at IS NULL AND s.pattern IN ({marks})",
        (project_id, *patterns),
    )
    return [row[0] for row in rows]


def _read(row: OutboxRow) -> _Event | str:
    """Return the event of a row, or the reason why it cannot be sent; the INSERT's own checks may have been off."""
    if row.payload is None:
        return f"payload is larger than {MAX_PAYLOAD_BYTES // 1024} KiB ({row.size} bytes)"
    named = {
        "event_id": row.event_id,
        "project_id": row.project_id,
        "event_type": row.event_type,
        "occurred_at": row.occurred_at,
        "payload": row.payload,
    }
    texts = {}
    for column, value in named.items():
        if b"\0" in value:
            return f"{column} contains a NUL character"
        try:
            texts[column] = value.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"{column} is not UTF-8 (byte {error.start})"
    event = _Event(texts["event_id"], texts["project_id"], texts["event_type"], texts["occurred_at"], texts["payload"])
    if not EVENT_ID_PATTERN.fullmatch(event.id):
        return "event_id must be 1 to 128 letters, digits, _, - or :"
    if not PROJECT_ID_PATTERN.fullmatch(event.project_id):
        return "project_id must be 1 to 128 printable ASCII characters without spaces"
    if not is_well_formed(event.event_type):
        return "event_type must be dotted lower-case words, at most 128 characters"
    if not _TIME.fullmatch(event.occurred_at):
        return "occurred_at must be a UTC time written YYYY-MM-DDTHH:MM:SS.mmmZ"
    if not row.is_object:
        return "payload is not a JSON object"
    return event
