-- An attempt's row is written once, when it has ended: `attempts` only grows, until it is pruned. That an attempt is in
-- flight, and which, stands in its delivery.
ALTER TABLE deliveries ADD COLUMN started_at TEXT;   -- of the attempt in flight
ALTER TABLE deliveries ADD COLUMN manual INTEGER NOT NULL DEFAULT 0
    CONSTRAINT "manual is 0 or 1" CHECK (manual IN (0, 1));   -- the attempt in flight is a resend or a test
-- JSON: the URL of the attempt in flight and its headers as `attempts` keeps them, once its webhook has been changed since.
ALTER TABLE deliveries ADD COLUMN sent TEXT;

UPDATE deliveries SET (started_at, manual, sent) = (
    SELECT a.started_at, a.trigger = 'manual', json_array(a.url, a.request_headers)
    FROM attempts a WHERE a.delivery_id = deliveries.id AND a.number = deliveries.begun)
WHERE in_flight = 1 AND EXISTS (
    SELECT 1 FROM attempts a WHERE a.delivery_id = deliveries.id AND a.number = deliveries.begun);

DELETE FROM attempts WHERE outcome IS NULL;

DROP INDEX deliveries_in_flight;
CREATE INDEX deliveries_in_flight ON deliveries (webhook_id) WHERE in_flight = 1;

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
JOIN events e ON e.seq = d.event_seq
UNION ALL
SELECT d.started_at, w.project_id, d.webhook_id, coalesce(json_extract(d.sent, '$[0]'), w.url), e.event_type, d.event_id,
       d.id, CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled' ELSE d.state END, d.begun,
       CASE WHEN d.manual THEN 'manual' ELSE 'scheduled' END, d.started_at, NULL, NULL, NULL, NULL
FROM deliveries d
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq
WHERE d.in_flight = 1;
