-- `delivery.disable_after`: since when nothing but scheduled attempts that failed was recorded, from the last success or
-- enabling on; until the newest of them, how that one ended, and whether a delivery has failed for good meanwhile.
ALTER TABLE webhooks ADD COLUMN down_since TEXT;
ALTER TABLE webhooks ADD COLUMN down_until TEXT;
ALTER TABLE webhooks ADD COLUMN down_cause TEXT;
ALTER TABLE webhooks ADD COLUMN down_given_up INTEGER NOT NULL DEFAULT 0
    CONSTRAINT "down_given_up is 0 or 1" CHECK (down_given_up IN (0, 1));
ALTER TABLE webhooks ADD COLUMN disabled_reason TEXT;   -- why the service disabled it; NULL where somebody did
CREATE INDEX webhooks_down ON webhooks (CAST(round((julianday(down_until) - julianday(down_since)) * 86400000) AS INTEGER))
    WHERE down_given_up = 1 AND enabled = 1 AND deleted_at IS NULL AND project_id <> 'almirant';

-- What a project is to be told of its failed deliveries: at most one notice a minute for each webhook, with the count.
ALTER TABLE webhooks ADD COLUMN untold_failed INTEGER NOT NULL DEFAULT 0;   -- deliveries that it was not told of yet
ALTER TABLE webhooks ADD COLUMN untold_delivery TEXT;                       -- the newest of them
ALTER TABLE webhooks ADD COLUMN told_at TEXT NOT NULL DEFAULT '';           -- when it was last told
CREATE INDEX webhooks_untold ON webhooks (told_at) WHERE untold_failed > 0 AND deleted_at IS NULL;

-- What a webhook can be told: a column for each option. NULL is a webhook that was not told.
ALTER TABLE webhooks ADD COLUMN concurrency INTEGER
    CONSTRAINT "concurrency is 1 to 64" CHECK (concurrency BETWEEN 1 AND 64);   -- in place of the setting's
ALTER TABLE webhooks ADD COLUMN headers TEXT   -- a JSON list of a name and a value for each further request header
    CONSTRAINT "headers is a JSON list" CHECK (headers IS NULL OR (json_valid(headers) AND json_type(headers) = 'array'));

ALTER TABLE webhooks ADD COLUMN rate_limit TEXT   -- attempts that begin within a second, a minute or an hour
    CONSTRAINT "rate_limit is a number from 1 to 10000 and a unit, as in 10/s, 300/m or 5000/h"
    CHECK (rate_limit GLOB '[1-9]*/[smh]' AND CAST(rate_limit AS INTEGER) BETWEEN 1 AND 10000
           AND CAST(rate_limit AS INTEGER) || substr(rate_limit, -2) = rate_limit);
-- The webhook, of an attempt that counts in its rate limit: a start of the daemon finds by it what began lately.
ALTER TABLE attempts ADD COLUMN limited_webhook TEXT;
CREATE INDEX attempts_of_limited ON attempts (limited_webhook, started_at) WHERE limited_webhook IS NOT NULL;
-- Tests wait for no rate limit, so they are found beside any number of resends that do.
CREATE INDEX deliveries_to_test ON deliveries (webhook_id)
    WHERE test = 1 AND resend_requested_at IS NOT NULL AND in_flight = 0;
ALTER TABLE webhooks ADD COLUMN template TEXT;   -- sent in place of an event's own body

-- The bodies that templates made, each as long as its delivery. One that could not be made is NULL, with the reason.
CREATE TABLE rendered_bodies (
    delivery_id   TEXT PRIMARY KEY,
    body          TEXT,
    failed_reason TEXT,
    CONSTRAINT "a body, or why there is none" CHECK ((body IS NULL) <> (failed_reason IS NULL))
) STRICT;
ALTER TABLE deliveries ADD COLUMN rendered INTEGER NOT NULL DEFAULT 0
    CONSTRAINT "rendered is 0 or 1" CHECK (rendered IN (0, 1));   -- its body is in `rendered_bodies`, not the event's own

-- A replay is a resend of many that makes the deliveries itself: those of kept events for one webhook, one at a time.
ALTER TABLE resends ADD COLUMN replay_of TEXT;   -- the webhook; NULL for a resend of deliveries that are there
CREATE UNIQUE INDEX replays_under_way ON resends (replay_of) WHERE replay_of IS NOT NULL AND finished_at IS NULL;
-- Up to when deliveries were removed from the log, by the longest time that any of them was kept.
ALTER TABLE database_meta ADD COLUMN pruned_before TEXT NOT NULL DEFAULT '';

-- An event whose content was erased: its body is `{}` and blanks then, and its record stays.
ALTER TABLE events ADD COLUMN erased_at TEXT;
ALTER TABLE deliveries ADD COLUMN erased INTEGER NOT NULL DEFAULT 0 CONSTRAINT "erased is 0 or 1" CHECK (erased IN (0, 1));
ALTER TABLE database_meta ADD COLUMN erased_at TEXT;   -- since when pages that were erased may be in the WAL
-- A filter: which of its events a webhook gets, beyond their type. JSON, a list of conditions that must all hold.
ALTER TABLE webhooks ADD COLUMN filter TEXT
    CONSTRAINT "filter is a JSON array" CHECK (json_type(filter) = 'array');

-- Events that a webhook subscribes to and did not get, each with the first condition that did not hold, in words.
CREATE TABLE filtered_out (
    event_seq INTEGER NOT NULL REFERENCES events (seq),
    webhook_id TEXT NOT NULL REFERENCES webhooks (id),
    condition TEXT NOT NULL,
    PRIMARY KEY (event_seq, webhook_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX filtered_out_of_a_webhook ON filtered_out (webhook_id);

DROP VIEW event_outcomes;
CREATE VIEW event_outcomes AS
SELECT e.id AS event_id, e.project_id, e.event_type, e.created_at, w.id AS webhook_id, w.url, d.id AS delivery_id,
       CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled'
            WHEN d.state = 'pending' AND w.enabled = 0 THEN 'held'
            WHEN d.id IS NOT NULL THEN d.state
            WHEN f.condition IS NOT NULL THEN 'filtered out'
            WHEN e.test = 1 THEN 'a test of another webhook'
            WHEN w.created_at > e.created_at THEN 'webhook created later'
            ELSE 'not subscribed to this type' END AS outcome,
       e.unmatched, CASE WHEN d.id IS NULL THEN f.condition END AS condition
FROM events e
JOIN webhooks w ON w.project_id = e.project_id AND w.deleted_at IS NULL
LEFT JOIN deliveries d ON d.event_seq = e.seq AND d.webhook_id = w.id
LEFT JOIN filtered_out f ON f.event_seq = e.seq AND f.webhook_id = w.id
UNION ALL
SELECT e.id, e.project_id, e.event_type, e.created_at, NULL, NULL, NULL, 'unmatched', e.unmatched, NULL
FROM events e
WHERE NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.project_id = e.project_id AND w.deleted_at IS NULL);
ALTER TABLE database_meta ADD COLUMN seal_check TEXT;   -- a sealed text that proves the key; NULL: nothing is sealed
ALTER TABLE database_meta ADD COLUMN plain_left INTEGER NOT NULL DEFAULT 0;   -- 1: free space may have secrets of before
ALTER TABLE webhooks ADD COLUMN ordered INTEGER CONSTRAINT "ordered is 1 or nothing" CHECK (ordered = 1);   -- one after the other

-- The oldest one that waits of a webhook: an index ends with the row, which is its place in the order. What begins with its
-- insertion and succeeds is never in it.
CREATE INDEX deliveries_in_order ON deliveries (webhook_id, generation)
    WHERE state = 'pending' AND in_flight = 0 AND next_attempt_at IS NOT NULL;

-- A project's own API tokens: what its admin may do, in that project alone. What is kept is a digest.
CREATE TABLE project_tokens (
    id TEXT NOT NULL PRIMARY KEY,         -- ptk_…
    digest TEXT NOT NULL UNIQUE,          -- SHA-256 of the token
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    CONSTRAINT "a project's tokens have different names" UNIQUE (project_id, name)
) STRICT;

-- What a webhook was imported from, as `svix:ep_…`: a second import of it finds it.
ALTER TABLE webhooks ADD COLUMN imported_from TEXT;
CREATE UNIQUE INDEX webhooks_imported ON webhooks (project_id, imported_from)
    WHERE imported_from IS NOT NULL AND deleted_at IS NULL;

-- Sessions of browsers. The cookie has a random text, of which the digest is kept; who signs in has a row until it ends.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,         -- ses_…
    digest TEXT NOT NULL UNIQUE,          -- SHA-256 of the cookie
    key_digest TEXT NOT NULL,             -- of the key that signs links: a session ends with it
    role TEXT NOT NULL,
    project_id TEXT,                      -- NULL for the operator, who sees all
    actor TEXT NOT NULL,                  -- who the link was for; empty where it does not say
    read_only INTEGER NOT NULL CONSTRAINT "read_only is 0 or 1" CHECK (read_only IN (0, 1)),
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,             -- later with each use, up to `ends_at`
    ends_at TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Links that were used: each opens the pages once.
CREATE TABLE used_links (
    digest TEXT NOT NULL PRIMARY KEY,     -- SHA-256 of the link
    expires_at TEXT NOT NULL              -- of the link itself: then nobody needs to remember it
) STRICT, WITHOUT ROWID;
CREATE INDEX used_links_by_end ON used_links (expires_at);

-- Requests with a key of their own (`Idempotency-Key`, or a form's), and what they did, for a day: written in the transaction
-- of the change itself. Row 0 is the answer, row n what its nth transaction returned.
CREATE TABLE request_keys (
    owner TEXT NOT NULL,                  -- whose key it is: `operator`, or the id of a token or session
    key_digest TEXT NOT NULL,             -- SHA-256 of the key
    number INTEGER NOT NULL,
    request_digest TEXT NOT NULL,         -- SHA-256 of what was asked for
    content TEXT NOT NULL,                -- sealed JSON
    created_at TEXT NOT NULL,
    PRIMARY KEY (owner, key_digest, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_keys_by_time ON request_keys (created_at);

-- Counts of attempts are of five minutes while they are new (`hour` is `YYYY-MM-DDTHH:MM` then), and become hours later.
CREATE INDEX webhook_hours_apart ON webhook_hours (hour, webhook_id) WHERE length(hour) > 13;

-- Attempts that failed, by their status, counted likewise.
CREATE TABLE webhook_failures (
    webhook_id TEXT NOT NULL,
    hour TEXT NOT NULL,
    status TEXT NOT NULL,                 -- as the log shows it; a code that HTTP does not know is its class, as 5xx
    attempts INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, hour, status)
) STRICT, WITHOUT ROWID;
INSERT INTO webhook_failures
SELECT d.webhook_id, substr(a.started_at, 1, 13),
       CASE WHEN a.outcome = 'http_error' THEN CAST(a.status_code AS TEXT) ELSE replace(a.outcome, '_', ' ') END, count(*)
FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
WHERE a.outcome IN ('http_error', 'timeout', 'connection_error', 'blocked')
GROUP BY 1, 2, 3;
CREATE INDEX webhook_failures_by_time ON webhook_failures (hour);
CREATE INDEX webhook_failures_apart ON webhook_failures (hour, webhook_id, status) WHERE length(hour) > 13;
