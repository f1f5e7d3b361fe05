"""Counts for people who wait beside others end at a limit, and a resend goes on where they ended."""

from __future__ import annotations

import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import resends as actions
from almirant_webhooks.cli.run_action import CommandDatabase, run_action
from almirant_webhooks.model import Refused
from almirant_webhooks.rules.principals import Principal, Role
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql import resend_steps, resends

from ..support.service import Service

OPERATOR = Principal(Role.OPERATOR)
FAILED = Selection(state="failed")


@pytest.fixture
def filled(service: Service, monkeypatch: pytest.MonkeyPatch) -> tuple[Service, list[str]]:
    """Three webhooks with four failed deliveries each, of which a part of a count looks at three."""
    service.migrate()
    ids = [service.webhook(f"https://example.com/{number}").id for number in range(3)]
    conn = service.producer()
    with conn:
        conn.execute(
            "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) "
            "VALUES (1, 'e', 'proj_1', 'a.b', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', '{}')"
        )
        conn.executemany(
            "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, attempts, last_number, created_at, last_status) "
            "VALUES (?, 1, 'e', ?, 'failed', 1, 1, '2026-01-01T00:00:00.000Z', '500')",
            [(f"dlv_{number:016d}", ids[number % 3]) for number in range(12)],
        )
    conn.close()
    monkeypatch.setattr(resends, "PART", 3)
    return service, sorted(ids)


def _count(service: Service, selection: Selection = FAILED) -> actions.Counted:
    return run_action(actions.count_some(CommandDatabase(service.settings()), OPERATOR, selection))


def test_a_count_within_its_limits_is_exact(filled: tuple[Service, list[str]]) -> None:
    """However many parts it takes."""
    service, ids = filled
    counted = _count(service)
    assert (counted.by_webhook, counted.rest, counted.total) == (dict.fromkeys(ids, 4), (), 12)


@pytest.mark.parametrize(("limit", "value"), [("MOST_COUNTED", 5), ("MOST_LOOKED_AT", 6), ("LONGEST", 0.0)])
def test_a_count_ends_at_a_limit_and_its_resend_is_of_all_that_matches(
    filled: tuple[Service, list[str]], monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    """Of matches, of rows that were looked at, and of time alike; what was not counted is sent again all the same."""
    service, ids = filled
    monkeypatch.setattr(actions, limit, value)
    counted = _count(service)
    assert counted.rest
    assert 0 < counted.total < 12
    database = CommandDatabase(service.settings())
    started = run_action(actions.resend_many(database, OPERATOR, FAILED, now=clock.now()))
    assert set(started.counts) == set(ids)
    service.write(resend_steps.step, clock.now())
    assert service.ask("SELECT count(*) FROM deliveries WHERE resend_requested_at IS NOT NULL") == (12,)


def test_a_count_that_found_none_in_time_begins_nothing(
    filled: tuple[Service, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resend of what nobody has seen would be of anything; the sentence says how to narrow it."""
    service, _ = filled
    monkeypatch.setattr(actions, "LONGEST", 0.0)
    database = CommandDatabase(service.settings())
    with pytest.raises(Refused, match="narrow it by time"):
        run_action(actions.resend_many(database, OPERATOR, Selection(cause="nowhere"), now=clock.now()))
