"""A database in which customers have any number of everything: `grow` fills one, of a size that is told."""

from __future__ import annotations

from datetime import timedelta

from almirant_webhooks import clock
from almirant_webhooks.storage.sqlite.connection import transaction

from .steps import START, Steps

DAY = timedelta(days=1)
NOW = START
OLD = clock.text(NOW - 500 * DAY)  # over every retention
AGO = clock.text(NOW - 100 * DAY)
YESTERDAY = clock.text(NOW - DAY)
LATER = clock.text(NOW + DAY)
BUSY, OFF, GONE, DISCARDING, RESENT = "wh_busy", "wh_off", "wh_gone", "wh_discarding", "wh_resent"
ORDERED, RETRYING = "wh_ordered", "wh_retrying"
RUNNING, TAIL, WIDE = "rsd_running", "rsd_tail", "rsd_wide"

_NUMBERS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :size)"
_OF_SIZE = (
    # Webhooks of other projects: disabled long ago and today, failing and told of, with a change of secret to come.
    "INSERT INTO webhooks (id, project_id, url, secret, created_at, updated_at) "
    "SELECT 'wh_o' || i, 'other' || i, 'https://h' || i || '.example.com/', 'secret', :ago, :ago FROM n",
    "INSERT INTO webhooks (id, project_id, url, secret, created_at, updated_at, enabled, disabled_at) "
    "SELECT 'wh_d' || i, 'other' || i, 'https://example.com/', 'secret', :ago, :ago, 0, iif(i % 2, :ago, :now) FROM n",
    "INSERT INTO webhooks (id, project_id, url, secret, created_at, updated_at, failing_since, failures_in_a_row, "
    "failing_noticed_at) SELECT 'wh_f' || i, 'other' || i, 'https://example.com/', 'secret', :ago, :ago, :ago, 9, "
    "iif(i % 2, :yesterday, NULL) FROM n",
    "INSERT INTO webhooks (id, project_id, url, secret, created_at, updated_at, next_secret, switch_at) "
    "SELECT 'wh_s' || i, 'other' || i, 'https://example.com/', 'secret', :ago, :ago, 'next', iif(i % 2, :ago, :later) FROM n",
    "INSERT INTO webhooks (id, project_id, url, secret, created_at, updated_at, deleted_at) "
    "SELECT 'wh_x' || i, 'other' || i, '', '', :ago, :ago, :now FROM n",
    "INSERT INTO subscriptions SELECT id, '*' FROM webhooks WHERE deleted_at IS NULL",
    # Events: taken long ago, nobody's, of a clock that was ahead and behind it.
    "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body, unmatched) "
    "SELECT i, 'evt_' || i, 'p', 'lead.created', :old, iif(i % 2, :old, :later), '{}', i % 2 FROM n",
    # Deliveries of a log: given up or gone well, long ago, one in four resent.
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, created_at, last_number, begun, attempts, tries, "
    "last_status) SELECT printf('dlv_%012x', i) || 'l', i, 'evt_' || i, 'wh_busy', iif(i % 2, 'failed', 'succeeded'), :old, "
    "1, 1, 1, 1, iif(i % 2, '500', '200') FROM n",
    "INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, url, "
    "request_headers) SELECT printf('dlv_%012x', i) || 'l', 1, 'scheduled', :old, 5, 'success', 200, '', '[]' FROM n",
    "INSERT INTO attempts (delivery_id, number, trigger, started_at, duration_ms, outcome, status_code, url, "
    "request_headers) SELECT 'dlv_000000000001l', i + 1, 'manual', :old, 5, 'success', 200, '', '[]' FROM n",
    # Backlogs: due, to be retried later, held of late, discarded, and those of a webhook that was deleted.
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at, next_attempt_at) "
    "SELECT printf('dlv_%012x', i) || 'b', i, 'evt_' || i, 'wh_busy', :yesterday, iif(i % 2, :yesterday, :later) FROM n",
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at, next_attempt_at) "
    "SELECT printf('dlv_%012x', i) || 'h', i, 'evt_' || i, 'wh_off', :yesterday, :yesterday FROM n",
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at, next_attempt_at) "
    "SELECT printf('dlv_%012x', i) || 'd', i, 'evt_' || i, 'wh_discarding', :yesterday, :yesterday FROM n",
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at, next_attempt_at) "
    "SELECT printf('dlv_%012x', i) || 'g', i, 'evt_' || i, 'wh_gone', :yesterday, :yesterday FROM n",
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at, next_attempt_at) "
    "SELECT printf('dlv_%012x', i) || 'o', i, 'evt_' || i, iif(i % 2, 'wh_o', 'wh_d') || i, :yesterday, :later FROM n",
    # Due, and asked for one by one as well, by somebody in a hurry.
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at, next_attempt_at, resend_requested_at) "
    "SELECT printf('dlv_%012x', i) || 'r', i, 'evt_' || i, 'wh_hurried', :yesterday, :yesterday, :yesterday FROM n",
    # In order: all due, behind as many discarded ones; and all behind one that is to be retried later.
    *(
        "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, created_at, next_attempt_at, generation) "
        f"SELECT printf('dlv_%012x', i) || '{end}', i, 'evt_' || i, '{webhook}', :yesterday, "
        f"iif(i = 1, {first}, :yesterday), {generation} FROM n"
        for end, webhook, first, generation in (
            ("p", "wh_ordered", ":yesterday", 0),
            ("q", "wh_ordered", ":yesterday", 1),
            ("s", "wh_retrying", ":later", 0),
        )
    ),
    # The tail of a large resend: all was asked for, and most of it has arrived.
    "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, state, created_at, resend_id, resend_requested_at, "
    "last_number, begun, attempts, tries, last_status) SELECT printf('dlv_%012x', i) || 't', i, 'evt_' || i, 'wh_resent', "
    "iif(i <= 150, 'failed', 'succeeded'), :yesterday, 'rsd_tail', iif(i <= 150, :now, NULL), 1, 1, 1, 1, '500' FROM n",
    "INSERT INTO resends (id, actor, filters, created_at, finished_at) SELECT 'rsd_o' || i, 'operator', i, :old, "
    "iif(i % 2, :old, :now) FROM n",
    "INSERT INTO resend_webhooks (resend_id, webhook_id, matched, done, ended) "
    "SELECT 'rsd_o' || i, 'wh_busy', 1, 1, 1 FROM n",
    "INSERT INTO resends (id, actor, filters, created_at) SELECT 'rsd_u' || i, 'operator', '{\"q\": ' || i || '}', :now FROM n",
    "INSERT INTO resend_webhooks (resend_id, webhook_id, matched) SELECT 'rsd_u' || i, 'wh_off', 1 FROM n",
    "INSERT INTO resend_webhooks (resend_id, webhook_id, matched, done, ended) "
    "SELECT 'rsd_wide', 'wh_o' || i, 1, i % 2, i % 2 FROM n",
    # Verdicts: of an event that has a delivery, of one that has none, and of a webhook that was deleted.
    "INSERT INTO filtered_out SELECT 1, 'wh_o' || i, 'n' FROM n",
    "INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body) "
    "VALUES (1000000, 'evt_alone', 'p', 'lead.created', '2020-01-01T00:00:00.000Z', '2020-01-01T00:00:00.000Z', '{}')",
    "INSERT INTO filtered_out SELECT 1000000, 'wh_o' || i, 'n' FROM n",
    "INSERT INTO filtered_out SELECT i, 'wh_gone', 'n' FROM n",
    "INSERT INTO webhook_hours SELECT 'wh_o' || i, substr(:old, 1, 13), 1, 1, 1, 1 FROM n",
    "INSERT INTO webhook_hours SELECT 'wh_gone', 'hour' || i, 1, 1, 1, 1 FROM n",
    "INSERT INTO webhook_hours SELECT 'wh_o' || i, substr(:yesterday, 1, 15) || '5', 1, 1, 1, 1 FROM n",
    "INSERT INTO webhook_failures SELECT 'wh_o' || i, substr(:old, 1, 13), '500', 1 FROM n",
    "INSERT INTO webhook_failures SELECT 'wh_o' || i, substr(:yesterday, 1, 15) || '5', '500', 1 FROM n",
    "INSERT INTO webhook_failures SELECT 'wh_gone', 'hour' || i, '500', 1 FROM n",
    "INSERT INTO audit (at, actor, action, project_id, webhook_id) "
    "SELECT iif(i % 2, :later, :old), 'operator', 'webhook.updated', 'p', 'wh_busy' FROM n",
    "INSERT INTO producer_tokens (id, digest, created_at) SELECT 'prod_' || i, i, :old FROM n",
)
_OUTBOX = (
    "INSERT INTO outbox (project_id, event_type, payload, fanned_out_at) SELECT 'p', 'lead.created', '{}', :old FROM n",
    "INSERT INTO outbox (project_id, event_type, payload, rejected_reason) SELECT 'p', 'lead.created', '{}', 'no' FROM n",
    "INSERT INTO outbox (project_id, event_type, payload) SELECT 'p' || (i % 7), 'lead.created', '{}' FROM n",
)
_FEW = """
INSERT INTO webhooks (id, project_id, url, secret, created_at, updated_at, enabled, disabled_at, deleted_at) VALUES
    ('wh_busy', 'p', 'https://example.com/', 'secret', :ago, :ago, 1, NULL, NULL),
    ('wh_off', 'p', 'https://example.com/', 'secret', :ago, :ago, 0, :ago, NULL),
    ('wh_resent', 'p', 'https://example.com/', 'secret', :ago, :ago, 1, NULL, NULL),
    ('wh_discarding', 'p', 'https://example.com/', 'secret', :ago, :ago, 1, NULL, NULL),
    ('wh_hurried', 'p', 'https://example.com/', 'secret', :ago, :ago, 1, NULL, NULL),
    ('wh_ordered', 'p', 'https://example.com/', 'secret', :ago, :ago, 1, NULL, NULL),
    ('wh_retrying', 'p', 'https://example.com/', 'secret', :ago, :ago, 1, NULL, NULL),
    ('wh_gone', 'p', '', '', :ago, :ago, 1, NULL, :ago)
"""
_RESENDS = (
    "INSERT INTO resends (id, actor, filters, created_at) VALUES ('rsd_running', 'operator', '{}', :now), "
    "('rsd_tail', 'operator', '{\"state\": \"failed\"}', :now), ('rsd_wide', 'operator', '{\"status\": \"500\"}', :now)",
    "INSERT INTO resend_webhooks (resend_id, webhook_id, matched) VALUES ('rsd_running', 'wh_busy', 9)",
    "INSERT INTO resend_webhooks (resend_id, webhook_id, matched, done) VALUES ('rsd_tail', 'wh_resent', 9, 1)",
    "UPDATE webhooks SET generation = 1, discarding_since = :now WHERE id = 'wh_discarding'",
    "UPDATE webhooks SET ordered = 1, generation = id = 'wh_ordered' WHERE id IN ('wh_ordered', 'wh_retrying')",
    # Down for long, and for a moment long ago.
    "UPDATE webhooks SET down_given_up = 1, down_since = :ago, down_until = iif(rowid % 2, :yesterday, :ago), down_cause = 'x' "
    "WHERE id GLOB 'wh_f*'",
    "UPDATE webhooks SET untold_failed = 2, untold_delivery = 'dlv_' || rowid, told_at = iif(rowid % 2, :yesterday, :now) "
    "WHERE id GLOB 'wh_f*'",
)


def grow(there: Steps, size: int) -> None:
    """Fill a database with `size` rows of each kind that customers can have any number of."""
    times = {"old": OLD, "ago": AGO, "yesterday": YESTERDAY, "now": clock.text(NOW), "later": LATER}
    with transaction(there.conn):
        there.conn.execute(_FEW, times)
        for statement in _OF_SIZE:
            begin, _, end = statement.partition(" SELECT")
            numbered = f"{begin} {_NUMBERS} SELECT{end}" if end.rstrip().endswith("FROM n") else statement
            there.conn.execute(numbered, {**times, "size": size} if "FROM n" in end else {})
        for statement in _RESENDS:
            there.conn.execute(statement, times)
    with transaction(there.outbox):
        for statement in _OUTBOX:
            begin, end = statement.split(" SELECT", 1)
            there.outbox.execute(f"{begin} {_NUMBERS} SELECT{end}", {**times, "size": size})
    there.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # else a measured call would find a long WAL


def counts_of(size: int) -> dict[str, int]:
    """What a count for a resend of all webhooks comes to."""
    return {f"wh_o{number}": 1 for number in range(1, size + 1)}
