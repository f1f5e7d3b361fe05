"""Waiting for the daemon to make an attempt that a command asked for."""

from __future__ import annotations

import time

from ..model import Ahead, Outcome, Refused
from ..settings.schema import Settings
from ..storage.records import LastAttempt
from .database import READS, reading
from .output import print_fields, print_json

LOOK_EVERY = 0.05


def _look(settings: Settings, delivery_id: str) -> LastAttempt | None:
    with reading(settings) as conn:
        return READS.deliveries.resend_done(conn, delivery_id)


def wait_for_attempt(settings: Settings, delivery_id: str, *, as_json: bool) -> None:
    """Wait until no resend of the delivery waits, print its last attempt; raises `Refused` unless that succeeded."""
    deadline = time.monotonic() + settings.delivery.timeout.total_seconds() + 20
    while (attempt := _look(settings, delivery_id)) is None:
        if time.monotonic() > deadline:
            raise Refused(f"{delivery_id} was not attempted yet. Does the daemon run? It is sent when it does.")
        time.sleep(LOOK_EVERY)
    if as_json:
        print_json(attempt)
    else:
        print_fields(attempt)
    if attempt["outcome"] != Outcome.SUCCESS:
        raise Refused(f"The attempt failed: {attempt['cause'] or attempt['status_code'] or attempt['outcome']}.")


def words_of(ahead: Ahead, settings: Settings) -> str:
    """Return in words what a delivery waits for by the order of its webhook."""
    when = "under way" if ahead["in_flight"] else f"at {ahead['next_attempt_at']}"
    return f"{ahead['delivery_id']} (attempt {ahead['attempt']} of {len(settings.delivery.retry_schedule)} {when})"
