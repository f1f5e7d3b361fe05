-- The daemon's database (contract, section 6). Times are ISO-8601 UTC text, states are words, ids are text.

CREATE TABLE database_meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    database_id TEXT NOT NULL,
    batch INTEGER NOT NULL DEFAULT 0,     -- how many batches were taken from the outbox
    revision INTEGER NOT NULL DEFAULT 0   -- grows with every change that an admin or operator makes
) STRICT;

INSERT INTO database_meta (id, database_id) VALUES (1, 'db_' || lower(hex(randomblob(16))));

CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    url TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    secret TEXT NOT NULL,
    enabled INTEGER NOT NULL DEFAULT 1 CONSTRAINT "enabled is 0 or 1" CHECK (enabled IN (0, 1)),
    disabled_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    deleted_at TEXT,
    CONSTRAINT "a deleted webhook keeps no secret" CHECK (deleted_at IS NULL OR secret = ''),
    CONSTRAINT "a disabled webhook says since when" CHECK (enabled = 1 OR disabled_at IS NOT NULL)
) STRICT;

CREATE INDEX webhooks_of_a_project ON webhooks (project_id) WHERE deleted_at IS NULL;
CREATE INDEX webhooks_to_erase ON webhooks (deleted_at) WHERE deleted_at IS NOT NULL;

CREATE TABLE subscriptions (
    webhook_id TEXT NOT NULL REFERENCES webhooks (id),
    pattern TEXT NOT NULL,
    PRIMARY KEY (webhook_id, pattern)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    created_at TEXT NOT NULL,
    body TEXT NOT NULL,                   -- the bytes that every attempt sends
    unmatched INTEGER NOT NULL DEFAULT 0 CONSTRAINT "unmatched is 0 or 1" CHECK (unmatched IN (0, 1)),
    test INTEGER NOT NULL DEFAULT 0 CONSTRAINT "test is 0 or 1" CHECK (test IN (0, 1)),
    CONSTRAINT "an event id is unique in its project" UNIQUE (project_id, id)
) STRICT;

CREATE INDEX events_by_id ON events (id);

CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    event_seq INTEGER NOT NULL REFERENCES events (seq),
    event_id TEXT NOT NULL,
    webhook_id TEXT NOT NULL REFERENCES webhooks (id),
    state TEXT NOT NULL DEFAULT 'pending'
        CONSTRAINT "state is pending, succeeded, failed or cancelled"
        CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled')),
    next_attempt_at TEXT,                 -- of the schedule; NULL when it has none left
    resend_requested_at TEXT,             -- a manual attempt waits
    in_flight INTEGER NOT NULL DEFAULT 0 CONSTRAINT "in_flight is 0 or 1" CHECK (in_flight IN (0, 1)),
    begun INTEGER NOT NULL DEFAULT 0,     -- attempts begun: the number of the last one
    attempts INTEGER NOT NULL DEFAULT 0,  -- attempts finished
    tries INTEGER NOT NULL DEFAULT 0,     -- finished attempts that count of the schedule
    interruptions INTEGER NOT NULL DEFAULT 0,
    last_number INTEGER,                  -- the attempt that finished last
    cancelled_reason TEXT,
    created_at TEXT NOT NULL,
    CONSTRAINT "only a pending delivery has a next attempt" CHECK (state = 'pending' OR next_attempt_at IS NULL)
) STRICT;

CREATE INDEX deliveries_due_of_a_webhook ON deliveries (webhook_id, next_attempt_at)
    WHERE state = 'pending' AND in_flight = 0;
CREATE INDEX deliveries_to_resend ON deliveries (webhook_id, resend_requested_at)
    WHERE resend_requested_at IS NOT NULL AND in_flight = 0;
CREATE INDEX deliveries_in_flight ON deliveries (id) WHERE in_flight = 1;
CREATE INDEX deliveries_of_a_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_of_an_event ON deliveries (event_seq);

CREATE TABLE attempts (
    delivery_id TEXT NOT NULL REFERENCES deliveries (id),
    number INTEGER NOT NULL,
    trigger TEXT NOT NULL
        CONSTRAINT "trigger is scheduled or manual" CHECK (trigger IN ('scheduled', 'manual')),
    started_at TEXT NOT NULL,
    duration_ms INTEGER,
    outcome TEXT                          -- NULL while the request is in flight
        CONSTRAINT "outcome is a word of the contract"
        CHECK (outcome IN ('success', 'http_error', 'timeout', 'connection_error', 'blocked', 'interrupted')),
    status_code INTEGER,
    cause TEXT,
    url TEXT NOT NULL,
    request_headers TEXT NOT NULL,        -- JSON: [[name, value], …]
    response_headers TEXT,                -- JSON, credentials masked
    response_body BLOB,
    response_body_cut INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (delivery_id, number)
) STRICT;

CREATE VIEW attempt_log AS
SELECT a.started_at AS date, w.project_id, d.webhook_id, a.url, e.event_type, d.event_id, a.delivery_id, d.state,
       a.number, a.trigger, a.started_at, a.duration_ms, a.outcome,
       CASE WHEN a.outcome IN ('success', 'http_error') THEN CAST(a.status_code AS TEXT)
            ELSE replace(a.outcome, '_', ' ') END AS status,
       a.cause
FROM attempts a
JOIN deliveries d ON d.id = a.delivery_id
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq;

CREATE VIEW delivery_log AS
SELECT coalesce(a.started_at, d.created_at) AS date, w.project_id, d.webhook_id, w.url, e.event_type, d.event_id,
       d.id AS delivery_id, d.state,
       CASE WHEN d.state = 'pending' AND w.enabled = 0 THEN 1 ELSE 0 END AS held,
       CASE WHEN a.outcome IN ('success', 'http_error') THEN CAST(a.status_code AS TEXT)
            ELSE replace(a.outcome, '_', ' ') END AS status,
       a.duration_ms, d.attempts, d.tries, d.next_attempt_at
FROM deliveries d
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq
LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number;

CREATE VIEW webhook_health AS
WITH counts AS (
    SELECT webhook_id,
           sum(state = 'pending') AS pending, sum(state = 'succeeded') AS succeeded,
           sum(state = 'failed') AS failed, sum(state = 'cancelled') AS cancelled
    FROM deliveries GROUP BY webhook_id
), finished AS (
    SELECT d.webhook_id, a.started_at, a.outcome
    FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
    WHERE a.outcome IS NOT NULL AND a.outcome <> 'interrupted'
), lasts AS (
    SELECT webhook_id,
           max(CASE WHEN outcome = 'success' THEN started_at END) AS last_success,
           max(CASE WHEN outcome <> 'success' THEN started_at END) AS last_failure
    FROM finished GROUP BY webhook_id
)
SELECT w.id AS webhook_id, w.project_id, w.url, w.enabled,
       coalesce(c.pending, 0) AS pending, coalesce(c.succeeded, 0) AS succeeded,
       coalesce(c.failed, 0) AS failed, coalesce(c.cancelled, 0) AS cancelled,
       CASE WHEN w.enabled = 0 THEN coalesce(c.pending, 0) ELSE 0 END AS held,
       l.last_success, l.last_failure,
       (SELECT count(*) FROM finished f WHERE f.webhook_id = w.id AND f.outcome <> 'success'
        AND (l.last_success IS NULL OR f.started_at > l.last_success)) AS failures_in_a_row
FROM webhooks w
LEFT JOIN counts c ON c.webhook_id = w.id
LEFT JOIN lasts l ON l.webhook_id = w.id
WHERE w.deleted_at IS NULL;

CREATE VIEW event_outcomes AS
SELECT e.id AS event_id, e.project_id, e.event_type, e.created_at, w.id AS webhook_id, w.url, d.id AS delivery_id,
       CASE WHEN d.state = 'pending' AND w.enabled = 0 THEN 'held'
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
