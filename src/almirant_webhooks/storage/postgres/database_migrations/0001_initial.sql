-- The database (contract, section 6), with the tables, columns and views of the SQLite one. Times are timestamptz, `enabled` and
-- `held` are boolean, other truths are 0 or 1. Text is compared byte by byte, as SQLite does.

-- What SQLite has by itself, for the statements that both engines run.

-- Planned as one row, and not in line: so that what is looked up by a list is looked up along an index, and no table is walked
-- through to find what is in the list, whatever is known of the table's size.
CREATE FUNCTION json_each(list text) RETURNS TABLE (key text, value text) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE ROWS 1 AS $$
BEGIN
    RETURN QUERY SELECT (place - 1)::text, item FROM json_array_elements_text(
        CASE WHEN json_typeof(list::json) = 'array' THEN list::json ELSE '[]' END) WITH ORDINALITY AS of_array (item, place)
    UNION ALL
    SELECT of_object.key, of_object.value FROM json_each_text(
        CASE WHEN json_typeof(list::json) = 'object' THEN list::json ELSE '{}' END) AS of_object;
END $$;

CREATE FUNCTION json_extract(list text, path text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT list::json ->> trim(BOTH '$[]' FROM path)::int
$$;

CREATE FUNCTION iif(condition boolean, yes anycompatible, no anycompatible) RETURNS anycompatible LANGUAGE sql IMMUTABLE
PARALLEL SAFE AS $$ SELECT CASE WHEN condition THEN yes ELSE no END $$;

CREATE FUNCTION max(VARIADIC anycompatiblearray) RETURNS anycompatible LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT max(value) FROM unnest($1) AS value
$$;

CREATE FUNCTION min(VARIADIC anycompatiblearray) RETURNS anycompatible LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT min(value) FROM unnest($1) AS value
$$;

CREATE FUNCTION instr(text, text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT strpos($1, $2) $$;

-- Only `'%-*s'` is used: a text with blanks behind it up to a width.
CREATE FUNCTION printf(format text, width bigint, value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT rpad(value, width::int)
$$;

CREATE FUNCTION zeroblob(size bigint) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT decode(repeat('00', size::int), 'hex')
$$;

CREATE FUNCTION randomblob(size bigint) RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT substr(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 1, size::int)
$$;

CREATE FUNCTION hex(bytea) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT upper(encode($1, 'hex')) $$;

CREATE FUNCTION julianday(timestamptz) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT extract(epoch FROM $1) / 86400
$$;

CREATE FUNCTION strftime(format text, at text) RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT at::timestamptz $$;

CREATE FUNCTION strftime(format text, at timestamptz, by text) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT at + by::interval
$$;

-- A part of a time as the contract writes it.
CREATE FUNCTION substr(at timestamptz, place bigint, size bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT substr(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), place::int, size::int)
$$;

CREATE FUNCTION count_truth(bigint, boolean) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN $2 IS NULL THEN $1 ELSE coalesce($1, 0) + $2::int END
$$;

CREATE AGGREGATE sum(boolean) (SFUNC = count_truth, STYPE = bigint, PARALLEL = SAFE);

CREATE AGGREGATE total(boolean) (SFUNC = count_truth, STYPE = bigint, INITCOND = 0, PARALLEL = SAFE);

CREATE TABLE database_meta (
    id bigint NOT NULL,
    database_id text COLLATE "C" NOT NULL,
    batch bigint NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    pruned_before text COLLATE "C" NOT NULL DEFAULT '',
    erased_at text COLLATE "C",
    seal_check text COLLATE "C",
    plain_left smallint NOT NULL DEFAULT 0,
    schema_version bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    CONSTRAINT "database_meta has one row" CHECK (id = 1)
);

CREATE TABLE webhooks (
    id text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    url text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL DEFAULT '',
    secret text COLLATE "C" NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    failing_since timestamptz,
    failures_in_a_row bigint NOT NULL DEFAULT 0,
    next_secret text COLLATE "C",
    switch_at timestamptz,
    failing_noticed_at timestamptz,
    generation bigint NOT NULL DEFAULT 0,
    discarding_since timestamptz,
    down_since timestamptz,
    down_until timestamptz,
    down_cause text COLLATE "C",
    down_given_up smallint NOT NULL DEFAULT 0,
    disabled_reason text COLLATE "C",
    untold_failed bigint NOT NULL DEFAULT 0,
    untold_delivery text COLLATE "C",
    told_at text COLLATE "C" NOT NULL DEFAULT '',
    concurrency bigint,
    headers text COLLATE "C",
    rate_limit text COLLATE "C",
    template text COLLATE "C",
    filter text COLLATE "C",
    ordered smallint,
    imported_from text COLLATE "C",
    PRIMARY KEY (id),
    CONSTRAINT "a deleted webhook keeps no next secret" CHECK (deleted_at IS NULL OR next_secret IS NULL),
    CONSTRAINT "a next secret says when it begins to sign" CHECK ((switch_at IS NULL) = (next_secret IS NULL)),
    CONSTRAINT "down_given_up is 0 or 1" CHECK (down_given_up IN (0, 1)),
    CONSTRAINT "concurrency is 1 to 64" CHECK (concurrency BETWEEN 1 AND 64),
    CONSTRAINT "headers is a JSON list" CHECK (headers IS NULL OR json_typeof(headers::json) = 'array'),
    CONSTRAINT "rate_limit is a number from 1 to 10000 and a unit, as in 10/s, 300/m or 5000/h" CHECK (rate_limit ~ '^[1-9][0-9]{0,4}/[smh]$' AND split_part(rate_limit, '/', 1)::bigint <= 10000),
    CONSTRAINT "filter is a JSON array" CHECK (json_typeof(filter::json) = 'array'),
    CONSTRAINT "ordered is 1 or nothing" CHECK (ordered = 1),
    CONSTRAINT "a deleted webhook keeps no secret" CHECK (deleted_at IS NULL OR secret = ''),
    CONSTRAINT "a disabled webhook says since when" CHECK (enabled OR disabled_at IS NOT NULL)
);

CREATE TABLE subscriptions (
    webhook_id text COLLATE "C" NOT NULL,
    pattern text COLLATE "C" NOT NULL,
    PRIMARY KEY (webhook_id, pattern)
);

CREATE TABLE events (
    seq bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    body text COLLATE "C" NOT NULL,
    unmatched smallint NOT NULL DEFAULT 0,
    test smallint NOT NULL DEFAULT 0,
    erased_at timestamptz,
    PRIMARY KEY (seq),
    CONSTRAINT "unmatched is 0 or 1" CHECK (unmatched IN (0, 1)),
    CONSTRAINT "test is 0 or 1" CHECK (test IN (0, 1)),
    CONSTRAINT "an event id is unique in its project" UNIQUE (project_id, id)
);

CREATE TABLE deliveries (
    id text COLLATE "C" NOT NULL,
    event_seq bigint NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    webhook_id text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'pending',
    next_attempt_at timestamptz,
    resend_requested_at timestamptz,
    in_flight smallint NOT NULL DEFAULT 0,
    begun bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    tries bigint NOT NULL DEFAULT 0,
    interruptions bigint NOT NULL DEFAULT 0,
    last_number bigint,
    cancelled_reason text COLLATE "C",
    created_at timestamptz NOT NULL,
    test smallint NOT NULL DEFAULT 0,
    resend_id text COLLATE "C",
    last_status text COLLATE "C",
    generation bigint NOT NULL DEFAULT 0,
    started_at timestamptz,
    manual smallint NOT NULL DEFAULT 0,
    sent text COLLATE "C",
    rendered smallint NOT NULL DEFAULT 0,
    erased smallint NOT NULL DEFAULT 0,
    rowid bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (id),
    CONSTRAINT "state is pending, succeeded, failed or cancelled" CHECK (state IN ('pending', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT "in_flight is 0 or 1" CHECK (in_flight IN (0, 1)),
    CONSTRAINT "test is 0 or 1" CHECK (test IN (0, 1)),
    CONSTRAINT "manual is 0 or 1" CHECK (manual IN (0, 1)),
    CONSTRAINT "rendered is 0 or 1" CHECK (rendered IN (0, 1)),
    CONSTRAINT "erased is 0 or 1" CHECK (erased IN (0, 1)),
    CONSTRAINT "only a pending delivery has a next attempt" CHECK (state = 'pending' OR next_attempt_at IS NULL)
)
-- Each delivery leaves a dead row: by the default of 0.2 a million of them would lie before who looks for open attempts.
WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000);

CREATE TABLE attempts (
    delivery_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    trigger text COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms bigint,
    outcome text COLLATE "C",
    status_code bigint,
    cause text COLLATE "C",
    url text COLLATE "C" NOT NULL,
    request_headers text COLLATE "C" NOT NULL,
    response_headers text COLLATE "C",
    response_body bytea,
    response_body_cut smallint NOT NULL DEFAULT 0,
    limited_webhook text COLLATE "C",
    rowid bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    PRIMARY KEY (delivery_id, number),
    CONSTRAINT "trigger is scheduled or manual" CHECK (trigger IN ('scheduled', 'manual')),
    CONSTRAINT "outcome is a word of the contract" CHECK (outcome IN ('success', 'http_error', 'timeout', 'connection_error', 'blocked', 'interrupted'))
);

CREATE TABLE webhook_hours (
    webhook_id text COLLATE "C" NOT NULL,
    hour text COLLATE "C" NOT NULL,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    duration_ms bigint NOT NULL,
    longest_ms bigint NOT NULL,
    PRIMARY KEY (webhook_id, hour)
);

CREATE TABLE webhook_failures (
    webhook_id text COLLATE "C" NOT NULL,
    hour text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    attempts bigint NOT NULL,
    PRIMARY KEY (webhook_id, hour, status)
);

CREATE TABLE audit (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    actor text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    webhook_id text COLLATE "C",
    delivery_id text COLLATE "C",
    detail text COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (seq)
);

CREATE TABLE resends (
    id text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    project_id text COLLATE "C",
    filters text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    cancelled_at timestamptz,
    finished_at timestamptz,
    cancelled_by text COLLATE "C",
    matched bigint NOT NULL DEFAULT 0,
    counts text COLLATE "C",
    parts bigint NOT NULL DEFAULT 0,
    replay_of text COLLATE "C",
    PRIMARY KEY (id)
);

CREATE TABLE resend_webhooks (
    resend_id text COLLATE "C" NOT NULL,
    webhook_id text COLLATE "C" NOT NULL,
    matched bigint NOT NULL,
    requested bigint NOT NULL DEFAULT 0,
    reached text COLLATE "C" NOT NULL DEFAULT '',
    done smallint NOT NULL DEFAULT 0,
    ended smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (resend_id, webhook_id),
    CONSTRAINT "done is 0 or 1" CHECK (done IN (0, 1)),
    CONSTRAINT "ended is 0 or 1" CHECK (ended IN (0, 1))
);

CREATE TABLE producer_tokens (
    id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL UNIQUE,
    project_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE rendered_bodies (
    delivery_id text COLLATE "C" NOT NULL,
    body text COLLATE "C",
    failed_reason text COLLATE "C",
    PRIMARY KEY (delivery_id),
    CONSTRAINT "a body, or why there is none" CHECK ((body IS NULL) <> (failed_reason IS NULL))
);

CREATE TABLE filtered_out (
    event_seq bigint NOT NULL,
    webhook_id text COLLATE "C" NOT NULL,
    condition text COLLATE "C" NOT NULL,
    PRIMARY KEY (event_seq, webhook_id)
);

CREATE TABLE project_tokens (
    id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL UNIQUE,
    project_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text COLLATE "C" NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT "a project's tokens have different names" UNIQUE (project_id, name)
);

CREATE TABLE sessions (
    id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL UNIQUE,
    key_digest text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    project_id text COLLATE "C",
    actor text COLLATE "C" NOT NULL,
    read_only smallint NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT "read_only is 0 or 1" CHECK (read_only IN (0, 1))
);

CREATE TABLE used_links (
    digest text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (digest)
);

CREATE TABLE request_keys (
    owner text COLLATE "C" NOT NULL,
    key_digest text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    request_digest text COLLATE "C" NOT NULL,
    content text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (owner, key_digest, number)
);

CREATE INDEX attempts_of_limited ON attempts (limited_webhook, started_at)
    WHERE limited_webhook IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at, project_id);
CREATE INDEX audit_of_a_project ON audit (project_id, seq);
CREATE INDEX audit_of_a_webhook ON audit (webhook_id, seq)
    WHERE webhook_id IS NOT NULL;
CREATE INDEX deliveries_due_of_a_webhook ON deliveries (webhook_id, generation, next_attempt_at)
    WHERE state = 'pending' AND in_flight = 0;
CREATE INDEX deliveries_given_up ON deliveries (webhook_id, id)
    WHERE state IN ('failed', 'cancelled');
CREATE INDEX deliveries_in_flight ON deliveries (webhook_id)
    WHERE in_flight = 1;
CREATE INDEX deliveries_in_order ON deliveries (webhook_id, generation, rowid)
    WHERE state = 'pending' AND in_flight = 0 AND next_attempt_at IS NOT NULL;
CREATE INDEX deliveries_of_a_resend ON deliveries (resend_id, state, resend_requested_at)
    WHERE resend_id IS NOT NULL;
CREATE INDEX deliveries_of_a_webhook ON deliveries (webhook_id, id);
CREATE INDEX deliveries_of_an_event ON deliveries (event_seq, webhook_id);
CREATE INDEX deliveries_to_resend ON deliveries (webhook_id, resend_id, resend_requested_at)
    WHERE resend_requested_at IS NOT NULL AND in_flight = 0;
CREATE INDEX deliveries_to_test ON deliveries (webhook_id)
    WHERE test = 1 AND resend_requested_at IS NOT NULL AND in_flight = 0;
CREATE INDEX deliveries_unwell ON deliveries (webhook_id, id)
    WHERE last_status IS NOT NULL AND last_status NOT LIKE '2%';
CREATE INDEX deliveries_waiting_in_a_resend ON deliveries (resend_id, webhook_id, in_flight)
    WHERE resend_id IS NOT NULL AND resend_requested_at IS NOT NULL;
CREATE INDEX events_by_id ON events (id);
CREATE INDEX events_by_time ON events (created_at);
CREATE INDEX filtered_out_of_a_webhook ON filtered_out (webhook_id);
CREATE UNIQUE INDEX replays_under_way ON resends (replay_of)
    WHERE replay_of IS NOT NULL AND finished_at IS NULL;
CREATE INDEX request_keys_by_time ON request_keys (created_at);
CREATE INDEX resend_parts_of_a_webhook ON resend_webhooks (webhook_id);
CREATE INDEX resend_parts_under_way ON resend_webhooks (resend_id, webhook_id)
    WHERE ended = 0;
CREATE INDEX resends_alike ON resends (filters)
    WHERE finished_at IS NULL;
CREATE INDEX resends_by_end ON resends (finished_at)
    WHERE finished_at IS NOT NULL;
CREATE INDEX resends_to_part ON resends (id)
    WHERE counts IS NOT NULL;
CREATE INDEX resends_under_way ON resends (created_at)
    WHERE finished_at IS NULL;
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX used_links_by_end ON used_links (expires_at);
CREATE INDEX webhook_failures_apart ON webhook_failures (hour, webhook_id, status)
    WHERE length(hour) > 13;
CREATE INDEX webhook_failures_by_time ON webhook_failures (hour);
CREATE INDEX webhook_hours_apart ON webhook_hours (hour, webhook_id)
    WHERE length(hour) > 13;
CREATE INDEX webhook_hours_by_time ON webhook_hours (hour);
CREATE INDEX webhooks_disabled ON webhooks (id)
    WHERE NOT enabled AND deleted_at IS NULL;
CREATE INDEX webhooks_discarding ON webhooks (id)
    WHERE discarding_since IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX webhooks_down ON webhooks (CAST(round((julianday(down_until) - julianday(down_since)) * 86400000) AS bigint))
    WHERE down_given_up = 1 AND enabled AND deleted_at IS NULL AND project_id <> 'almirant';
CREATE INDEX webhooks_failing ON webhooks (failing_since)
    WHERE failing_noticed_at IS NULL AND enabled AND deleted_at IS NULL AND failures_in_a_row >= 2;
CREATE UNIQUE INDEX webhooks_imported ON webhooks (project_id, imported_from)
    WHERE imported_from IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX webhooks_of_a_project ON webhooks (project_id, id)
    WHERE deleted_at IS NULL;
CREATE INDEX webhooks_recovered ON webhooks (failing_noticed_at)
    WHERE failing_noticed_at IS NOT NULL AND deleted_at IS NULL AND (failing_since IS NULL OR failing_since > failing_noticed_at);
CREATE INDEX webhooks_switching ON webhooks (switch_at)
    WHERE switch_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX webhooks_to_erase ON webhooks (deleted_at)
    WHERE deleted_at IS NOT NULL;
CREATE INDEX webhooks_untold ON webhooks (told_at)
    WHERE untold_failed > 0 AND deleted_at IS NULL;

CREATE VIEW attempt_log AS
SELECT a.started_at AS date, w.project_id, d.webhook_id, a.url, e.event_type, d.event_id, a.delivery_id,
       CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled' ELSE d.state END AS state,
       a.number, a.trigger, a.started_at, a.duration_ms, a.outcome,
       CASE WHEN a.outcome IN ('success', 'http_error') THEN CAST(a.status_code AS text)
            ELSE replace(a.outcome, '_', ' ') END AS status,
       a.cause
FROM attempts a
JOIN deliveries d ON d.id = a.delivery_id
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq
UNION ALL
SELECT d.started_at, w.project_id, d.webhook_id, coalesce(d.sent::json ->> 0, w.url), e.event_type, d.event_id,
       d.id, CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled' ELSE d.state END, d.begun,
       CASE WHEN d.manual = 1 THEN 'manual' ELSE 'scheduled' END, d.started_at, NULL::bigint, NULL, NULL, NULL
FROM deliveries d
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq
WHERE d.in_flight = 1;

CREATE VIEW delivery_log AS
SELECT coalesce(a.started_at, d.created_at) AS date, w.project_id, d.webhook_id, w.url, e.event_type, d.event_id,
       d.id AS delivery_id,
       CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled' ELSE d.state END AS state,
       d.state = 'pending' AND NOT w.enabled AND d.generation = w.generation AS held,
       CASE WHEN a.outcome IN ('success', 'http_error') THEN CAST(a.status_code AS text)
            ELSE replace(a.outcome, '_', ' ') END AS status,
       a.duration_ms, d.attempts, d.tries,
       CASE WHEN d.generation = w.generation THEN d.next_attempt_at END AS next_attempt_at
FROM deliveries d
JOIN webhooks w ON w.id = d.webhook_id AND w.deleted_at IS NULL
JOIN events e ON e.seq = d.event_seq
LEFT JOIN attempts a ON a.delivery_id = d.id AND a.number = d.last_number;

CREATE VIEW event_outcomes AS
SELECT e.id AS event_id, e.project_id, e.event_type, e.created_at, w.id AS webhook_id, w.url, d.id AS delivery_id,
       CASE WHEN d.state = 'pending' AND d.generation < w.generation THEN 'cancelled'
            WHEN d.state = 'pending' AND NOT w.enabled THEN 'held'
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

CREATE VIEW webhook_health AS
WITH counts AS (
    SELECT d.webhook_id,
           count(*) FILTER (WHERE d.state = 'pending' AND d.generation = w.generation) AS pending,
           count(*) FILTER (WHERE d.state = 'succeeded') AS succeeded, count(*) FILTER (WHERE d.state = 'failed') AS failed,
           count(*) FILTER (WHERE d.state = 'cancelled' OR (d.state = 'pending' AND d.generation < w.generation)) AS cancelled
    FROM webhooks w JOIN deliveries d ON d.webhook_id = w.id WHERE w.deleted_at IS NULL GROUP BY d.webhook_id
)
SELECT w.id AS webhook_id, w.project_id, w.url, w.enabled,
       coalesce(c.pending, 0) AS pending, coalesce(c.succeeded, 0) AS succeeded,
       coalesce(c.failed, 0) AS failed, coalesce(c.cancelled, 0) AS cancelled,
       CASE WHEN NOT w.enabled THEN coalesce(c.pending, 0) ELSE 0 END AS held,
       w.last_success_at AS last_success, w.last_failure_at AS last_failure, w.failures_in_a_row,
       CASE WHEN w.failing_noticed_at IS NOT NULL THEN w.failing_since END AS failing_since
FROM webhooks w
LEFT JOIN counts c ON c.webhook_id = w.id
WHERE w.deleted_at IS NULL;

-- The daemons on this database, each of which says every second that it is alive, by the server's clock.
CREATE TABLE daemons (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    name text NOT NULL,                                       -- its host and process, for people
    joined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_seconds double precision NOT NULL,                -- its delivery.timeout
    is_leaving boolean NOT NULL DEFAULT false                 -- it takes nothing more and gives all that it has
);

-- The number of the last transaction by which a daemon delivered: what a COMMIT without an answer has come to; and how often
-- what it owns has changed, which each of its transactions looks at.
CREATE TABLE daemon_batches (
    daemon_id text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES daemons (id) ON DELETE CASCADE,
    batch bigint NOT NULL DEFAULT 0,
    changes bigint NOT NULL DEFAULT 0
);

-- Which daemon each project belongs to, by its bucket: `outbox_bucket(project_id)`.
CREATE TABLE buckets (
    number smallint NOT NULL PRIMARY KEY,
    daemon_id text COLLATE "C" REFERENCES daemons (id) ON DELETE SET NULL,   -- NULL: nobody's at the moment
    since timestamptz,
    ordered_from timestamptz,   -- taken from a daemon that is gone: its ordered webhooks begin no earlier
    CONSTRAINT "number is 0 to 63" CHECK (number BETWEEN 0 AND 63)
);
CREATE INDEX buckets_of_a_daemon ON buckets (daemon_id);
INSERT INTO buckets (number) SELECT generate_series(0, 63);

CREATE FUNCTION buckets_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE almirant_webhooks.daemon_batches SET changes = changes + 1 WHERE daemon_id IN (OLD.daemon_id, NEW.daemon_id);
    RETURN NULL;
END $$;

CREATE TRIGGER buckets_changed AFTER UPDATE OF daemon_id ON buckets
    FOR EACH ROW WHEN (OLD.daemon_id IS DISTINCT FROM NEW.daemon_id) EXECUTE FUNCTION buckets_changed();

-- Databases that were moved here from a file.
CREATE TABLE moves (
    database_id text COLLATE "C" NOT NULL PRIMARY KEY,
    finished_at timestamptz                   -- NULL: it was cut short, or is under way
);

-- The operator's token and the key of links (contract, section 6), the same for all daemons.
CREATE TABLE operator_keys (
    id bigint NOT NULL PRIMARY KEY CONSTRAINT "operator_keys has one row" CHECK (id = 1),
    token_digest text COLLATE "C" NOT NULL,   -- SHA-256
    links_key text COLLATE "C" NOT NULL       -- sealed
);

INSERT INTO database_meta (id, database_id) VALUES (1, 'db_' || lower(hex(randomblob(16))));
