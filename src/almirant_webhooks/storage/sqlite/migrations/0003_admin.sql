-- What admins and operators need beside the deliveries themselves.

-- A change of secret: `next_secret` signs from `switch_at` on, and takes the place of `secret` a day later.
ALTER TABLE webhooks ADD COLUMN next_secret TEXT
    CONSTRAINT "a deleted webhook keeps no next secret" CHECK (deleted_at IS NULL OR next_secret IS NULL);
ALTER TABLE webhooks ADD COLUMN switch_at TEXT
    CONSTRAINT "a next secret says when it begins to sign" CHECK ((switch_at IS NULL) = (next_secret IS NULL));

-- Who changed, revealed or resent what. No secret, payload or URL is in it, and it outlives what it tells of.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    actor TEXT NOT NULL,                  -- operator, link to a project, or the system user of a command
    action TEXT NOT NULL,                 -- webhook.created, secret.revealed, …
    project_id TEXT NOT NULL,
    webhook_id TEXT,
    delivery_id TEXT,
    detail TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX audit_of_a_project ON audit (project_id, seq);
CREATE INDEX audit_of_a_webhook ON audit (webhook_id, seq) WHERE webhook_id IS NOT NULL;

-- Many resends at once: what was asked for, and how far it has come at each webhook.
CREATE TABLE resends (
    id TEXT NOT NULL PRIMARY KEY,         -- rsd_…
    actor TEXT NOT NULL,
    project_id TEXT,                      -- NULL when it spans projects
    filters TEXT NOT NULL,                -- JSON
    created_at TEXT NOT NULL,
    cancelled_at TEXT,
    finished_at TEXT
) STRICT;

CREATE INDEX resends_under_way ON resends (created_at) WHERE finished_at IS NULL;

CREATE TABLE resend_webhooks (
    resend_id TEXT NOT NULL REFERENCES resends (id),
    webhook_id TEXT NOT NULL,
    matched INTEGER NOT NULL,             -- deliveries that matched when it was asked for
    requested INTEGER NOT NULL DEFAULT 0, -- manual attempts asked for so far
    reached TEXT NOT NULL DEFAULT '',     -- every delivery up to this id was looked at, once
    done INTEGER NOT NULL DEFAULT 0 CONSTRAINT "done is 0 or 1" CHECK (done IN (0, 1)),
    PRIMARY KEY (resend_id, webhook_id)
) STRICT, WITHOUT ROWID;

-- The resend of many that a delivery was last part of; its manual attempt gives way to what is due.
ALTER TABLE deliveries ADD COLUMN resend_id TEXT;

DROP INDEX deliveries_to_resend;
CREATE INDEX deliveries_to_resend ON deliveries (webhook_id, resend_id, resend_requested_at)
    WHERE resend_requested_at IS NOT NULL AND in_flight = 0;
CREATE INDEX deliveries_of_a_resend ON deliveries (resend_id, state, resend_requested_at) WHERE resend_id IS NOT NULL;

-- Producers on other machines: POST /api/v1/events alone.
CREATE TABLE producer_tokens (
    id TEXT NOT NULL PRIMARY KEY,         -- prod_…
    digest TEXT NOT NULL UNIQUE,          -- SHA-256 of the token
    project_id TEXT,                      -- NULL for every project
    created_at TEXT NOT NULL
) STRICT;

-- How the last finished attempt ended, as `delivery_log` has it, so that a search need not look into every attempt. What
-- went well is in neither index and costs nothing.
ALTER TABLE deliveries ADD COLUMN last_status TEXT;

UPDATE deliveries SET last_status = (
    SELECT CASE WHEN a.outcome IN ('success', 'http_error') THEN CAST(a.status_code AS TEXT)
                ELSE replace(a.outcome, '_', ' ') END
    FROM attempts a WHERE a.delivery_id = deliveries.id AND a.number = deliveries.last_number
);

CREATE INDEX deliveries_unwell ON deliveries (webhook_id, id)
    WHERE last_status IS NOT NULL AND last_status NOT GLOB '2*';
CREATE INDEX deliveries_given_up ON deliveries (webhook_id, id) WHERE state IN ('failed', 'cancelled');

-- A webhook that fails everything for an hour is noticed once, and so is its recovery.
ALTER TABLE webhooks ADD COLUMN failing_noticed_at TEXT;

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
       w.last_success_at AS last_success, w.last_failure_at AS last_failure, w.failures_in_a_row,
       CASE WHEN w.failing_noticed_at IS NOT NULL THEN w.failing_since END AS failing_since
FROM webhooks w
LEFT JOIN counts c ON c.webhook_id = w.id
WHERE w.deleted_at IS NULL;
