-- So that every statement of a writer looks at a bounded number of rows, whatever customers have and do.

-- Discarding what is held gives the webhook its next generation. A pending delivery of an earlier one counts as cancelled
-- from then on, and small steps write it so.
ALTER TABLE webhooks ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhooks ADD COLUMN discarding_since TEXT;
ALTER TABLE deliveries ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

DROP INDEX deliveries_due_of_a_webhook;
CREATE INDEX deliveries_due_of_a_webhook ON deliveries (webhook_id, generation, next_attempt_at)
    WHERE state = 'pending' AND in_flight = 0;
CREATE INDEX webhooks_discarding ON webhooks (id) WHERE discarding_since IS NOT NULL AND deleted_at IS NULL;

-- What became of an event at each of a project's webhooks is looked up, not looked for.
DROP INDEX deliveries_of_an_event;
CREATE INDEX deliveries_of_an_event ON deliveries (event_seq, webhook_id);
DROP INDEX webhooks_of_a_project;
CREATE INDEX webhooks_of_a_project ON webhooks (project_id, id) WHERE deleted_at IS NULL;

-- What has had its time, in the order of time: rows stand in that of their making, which a clock that was ahead upsets.
CREATE INDEX events_by_time ON events (created_at);
CREATE INDEX audit_by_time ON audit (at, project_id);
CREATE INDEX webhook_hours_by_time ON webhook_hours (hour);
CREATE INDEX resends_by_end ON resends (finished_at) WHERE finished_at IS NOT NULL;

-- The few webhooks that a look is for.
CREATE INDEX webhooks_disabled ON webhooks (id) WHERE enabled = 0 AND deleted_at IS NULL;
CREATE INDEX webhooks_switching ON webhooks (switch_at) WHERE switch_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX webhooks_failing ON webhooks (failing_since)
    WHERE failing_noticed_at IS NULL AND enabled = 1 AND deleted_at IS NULL AND failures_in_a_row >= 2;
CREATE INDEX webhooks_recovered ON webhooks (failing_noticed_at)
    WHERE failing_noticed_at IS NOT NULL AND deleted_at IS NULL
    AND (failing_since IS NULL OR failing_since > failing_noticed_at);

-- The part of a resend at one webhook has ended when nothing more of it is asked for or waits.
ALTER TABLE resend_webhooks ADD COLUMN ended INTEGER NOT NULL DEFAULT 0
    CONSTRAINT "ended is 0 or 1" CHECK (ended IN (0, 1));
ALTER TABLE resends ADD COLUMN cancelled_by TEXT;
ALTER TABLE resends ADD COLUMN matched INTEGER NOT NULL DEFAULT 0;   -- deliveries, when it was asked for
ALTER TABLE resends ADD COLUMN counts TEXT;   -- JSON, [[webhook, matched], …]: of these the parts are made, in steps
ALTER TABLE resends ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;     -- made so far

UPDATE resends SET (matched, parts) = (
    SELECT coalesce(sum(p.matched), 0), count(*) FROM resend_webhooks p WHERE p.resend_id = resends.id
);
UPDATE resends SET finished_at = created_at
    WHERE finished_at IS NULL AND NOT EXISTS (SELECT 1 FROM resend_webhooks p WHERE p.resend_id = resends.id);
UPDATE resend_webhooks SET ended = 1
    WHERE resend_id IN (SELECT id FROM resends WHERE finished_at IS NOT NULL);

CREATE INDEX resend_parts_under_way ON resend_webhooks (resend_id, webhook_id) WHERE ended = 0;
CREATE INDEX resend_parts_of_a_webhook ON resend_webhooks (webhook_id);
CREATE INDEX resends_to_part ON resends (id) WHERE counts IS NOT NULL;
CREATE INDEX resends_alike ON resends (filters) WHERE finished_at IS NULL;
CREATE INDEX deliveries_waiting_in_a_resend ON deliveries (resend_id, webhook_id, in_flight)
    WHERE resend_id IS NOT NULL AND resend_requested_at IS NOT NULL;

DROP VIEW attempt_log;
CREATE VIEW attempt_log AS
SELECT a.started_at AS date, w.project_id, d.webhook_id, a.url, e.event_type, d.event_id, a.delivery_id,
       CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled' ELSE d.state END AS state,
       a.number, a.trigger, a.started_at, a.duration_ms, a.outcome,
       CASE WHEN a.outcome IN ('success', 'http_error') THEN CAST(a.status_code AS TEXT)
            ELSE replace(a.outcome, '_', ' ') END AS status,
       a.cause
FROM attempts a
JOIN deliveries d ON d.id = a.delivery_id
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq;

DROP VIEW delivery_log;
CREATE VIEW delivery_log AS
SELECT coalesce(a.started_at, d.created_at) AS date, w.project_id, d.webhook_id, w.url, e.event_type, d.event_id,
       d.id AS delivery_id,
       CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled' ELSE d.state END AS state,
       CASE WHEN d.state = 'pending' AND w.enabled = 0 AND d.generation = w.generation THEN 1 ELSE 0 END AS held,
       CASE WHEN a.outcome IN ('success', 'http_error') THEN CAST(a.status_code AS TEXT)
            ELSE replace(a.outcome, '_', ' ') END AS status,
       a.duration_ms, d.attempts, d.tries,
       CASE WHEN d.generation = w.generation THEN d.next_attempt_at END AS next_attempt_at
FROM deliveries d
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq
LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number;

DROP VIEW webhook_health;
CREATE VIEW webhook_health AS
WITH counts AS (
    SELECT d.webhook_id,
           sum(d.state = 'pending' AND d.generation = w.generation) AS pending,
           sum(d.state = 'succeeded') AS succeeded, sum(d.state = 'failed') AS failed,
           sum(d.state = 'cancelled' OR (d.state = 'pending' AND d.generation < w.generation)) AS cancelled
    FROM webhooks w CROSS JOIN deliveries d ON d.webhook_id = w.id WHERE w.deleted_at IS NULL GROUP BY w.id
)
SELECT w.id AS webhook_id, w.project_id, w.url, w.enabled,
       coalesce(c.pending, 0) AS pending, coalesce(c.succeeded, 0) AS succeeded,
       coalesce(c.failed, 0) AS failed, coalesce(c.cancelled, 0) AS cancelled,
       CASE WHEN w.enabled = 0 THEN coalesce(c.pending, 0) ELSE 0 END AS held,
       w.last_success_at AS last_success, w.last_failure_at AS last_failure, w.failures_in_a_row,
       CASE WHEN w.failing_noticed_at IS NOT NULL THEN w.failing_since END AS failing_since
FROM webhooks w
LEFT JOIN counts c ON c.webhook_id = w.id
WHERE w.deleted_at IS NULL;

DROP VIEW event_outcomes;
CREATE VIEW event_outcomes AS
SELECT e.id AS event_id, e.project_id, e.event_type, e.created_at, w.id AS webhook_id, w.url, d.id AS delivery_id,
       CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled'
            WHEN d.state = 'pending' AND w.enabled = 0 THEN 'held'
            WHEN d.id IS NOT NULL THEN d.state
            WHEN e.test = 1 THEN 'a test of another webhook'
            WHEN w.created_at > e.created_at THEN 'webhook created later'
            ELSE 'not subscribed to this type' END AS outcome,
       e.unmatched
FROM events e
JOIN webhooks w ON w.project_id = e.project_id AND w.deleted_at IS NULL
LEFT JOIN deliveries d ON d.event_seq = e.seq AND d.webhook_id = w.id
UNION ALL
SELECT e.id, e.project_id, e.event_type, e.created_at, NULL, NULL, NULL, 'unmatched', e.unmatched
FROM events e
WHERE NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.project_id = e.project_id AND w.deleted_at IS NULL);
