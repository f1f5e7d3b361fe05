-- What each webhook has been doing, written with every group of results, so that no page has to read the log for it.

ALTER TABLE deliveries ADD COLUMN test INTEGER NOT NULL DEFAULT 0 CONSTRAINT "test is 0 or 1" CHECK (test IN (0, 1));

UPDATE deliveries SET test = 1 WHERE event_seq IN (SELECT seq FROM events WHERE test = 1);

ALTER TABLE webhooks ADD COLUMN last_success_at TEXT;                      -- starts of attempts
ALTER TABLE webhooks ADD COLUMN last_failure_at TEXT;
ALTER TABLE webhooks ADD COLUMN failing_since TEXT;                        -- the first failure after the last success
ALTER TABLE webhooks ADD COLUMN failures_in_a_row INTEGER NOT NULL DEFAULT 0;

CREATE TABLE webhook_hours (
    webhook_id TEXT NOT NULL,
    hour TEXT NOT NULL,                   -- YYYY-MM-DDTHH, UTC, of the attempt's start
    succeeded INTEGER NOT NULL,           -- attempts; an interrupted one is neither
    failed INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,         -- of all of them together
    longest_ms INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, hour)
) STRICT, WITHOUT ROWID;

INSERT INTO webhook_hours
SELECT d.webhook_id, substr(a.started_at, 1, 13), sum(a.outcome = 'success'), sum(a.outcome <> 'success'),
       coalesce(sum(a.duration_ms), 0), coalesce(max(a.duration_ms), 0)
FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
WHERE a.outcome IS NOT NULL AND a.outcome <> 'interrupted'
GROUP BY 1, 2;

UPDATE webhooks SET (last_success_at, last_failure_at) = (
    SELECT max(CASE WHEN a.outcome = 'success' THEN a.started_at END),
           max(CASE WHEN a.outcome <> 'success' THEN a.started_at END)
    FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
    WHERE d.webhook_id = webhooks.id AND a.outcome IS NOT NULL AND a.outcome <> 'interrupted'
);

UPDATE webhooks SET (failing_since, failures_in_a_row) = (
    SELECT min(a.started_at), count(*)
    FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
    WHERE d.webhook_id = webhooks.id AND a.outcome NOT IN ('success', 'interrupted')
      AND (webhooks.last_success_at IS NULL OR a.started_at > webhooks.last_success_at)
);

DROP VIEW webhook_health;

CREATE VIEW webhook_health AS
WITH counts AS (
    SELECT webhook_id,
           sum(state = 'pending') AS pending, sum(state = 'succeeded') AS succeeded,
           sum(state = 'failed') AS failed, sum(state = 'cancelled') AS cancelled
    FROM deliveries GROUP BY webhook_id
)
SELECT w.id AS webhook_id, w.project_id, w.url, w.enabled,
       coalesce(c.pending, 0) AS pending, coalesce(c.succeeded, 0) AS succeeded,
       coalesce(c.failed, 0) AS failed, coalesce(c.cancelled, 0) AS cancelled,
       CASE WHEN w.enabled = 0 THEN coalesce(c.pending, 0) ELSE 0 END AS held,
       w.last_success_at AS last_success, w.last_failure_at AS last_failure, w.failures_in_a_row
FROM webhooks w
LEFT JOIN counts c ON c.webhook_id = w.id
WHERE w.deleted_at IS NULL;
