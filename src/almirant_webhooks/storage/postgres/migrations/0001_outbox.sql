-- The outbox (contract, section 2). Any program may insert; a row that breaks a rule is refused by the rule's words.
-- PostgreSQL cuts the name of a constraint at 63 bytes, so a function says the rule whole. It is called for a broken row
-- alone, and is volatile, or the planner would call it for every statement.

CREATE FUNCTION almirant_webhooks.outbox_refuse(rule text, field text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = rule, ERRCODE = 'check_violation', TABLE = 'outbox', COLUMN = field;
END $$;

-- Before PostgreSQL 16 only a cast says whether a text is JSON.
CREATE FUNCTION almirant_webhooks.outbox_is_object(payload text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN pg_catalog.json_typeof(payload::pg_catalog.json) = 'object';
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END $$;

CREATE TABLE almirant_webhooks.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Milliseconds first, then random: ids of later events sort later, so that a large log grows at its indexes' ends.
    event_id text COLLATE "C" NOT NULL DEFAULT (
        'evt_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
        || right(replace(gen_random_uuid()::text, '-', ''), 20)),
    project_id text COLLATE "C" NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    payload text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
    fanned_out_at timestamptz,
    rejected_reason text,
    CONSTRAINT outbox_event_id CHECK (
        CASE WHEN octet_length(event_id) <= 128 AND event_id ~ '^[A-Za-z0-9_:-]+$' THEN true
             ELSE almirant_webhooks.outbox_refuse('event_id must be 1 to 128 letters, digits, _, - or :', 'event_id') END),
    CONSTRAINT outbox_project_id CHECK (
        CASE WHEN octet_length(project_id) <= 128 AND project_id ~ '^[!-~]+$' THEN true
             ELSE almirant_webhooks.outbox_refuse(
                 'project_id must be 1 to 128 printable ASCII characters without spaces', 'project_id') END),
    CONSTRAINT outbox_event_type CHECK (
        CASE WHEN octet_length(event_type) <= 128 AND event_type ~ '^[a-z0-9_]+([.][a-z0-9_]+)+$' THEN true
             ELSE almirant_webhooks.outbox_refuse(
                 'event_type must be dotted lower-case words such as work_item.created, at most 128 characters',
                 'event_type') END),
    CONSTRAINT outbox_payload CHECK (
        CASE WHEN octet_length(payload) > 262144
             THEN almirant_webhooks.outbox_refuse('payload must be at most 256 KiB of UTF-8', 'payload')
             WHEN almirant_webhooks.outbox_is_object(payload) THEN true
             ELSE almirant_webhooks.outbox_refuse('payload must be a JSON object', 'payload') END),
    CONSTRAINT outbox_occurred_at CHECK (
        CASE WHEN occurred_at >= '0001-01-01 00:00:00Z' AND occurred_at < '10000-01-01 00:00:00Z' THEN true
             ELSE almirant_webhooks.outbox_refuse(
                 'occurred_at must be a UTC time written YYYY-MM-DDTHH:MM:SS.mmmZ', 'occurred_at') END),
    CONSTRAINT "an event_id is used once in its project" UNIQUE (event_id, project_id) -- `event show` has the id alone
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 10000);

-- Several daemons share the projects by 64 buckets: the first byte of a hash of the project's id, whose backslashes would begin
-- an escape in bytea.
CREATE FUNCTION almirant_webhooks.outbox_bucket(project_id text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT get_byte(sha256(replace(project_id, E'\\', E'\\\\')::bytea), 0) % 64
$$;

-- What waits, by project: each project is one step for the daemon, however many rows it has, so that all get their turns.
CREATE INDEX outbox_unread ON almirant_webhooks.outbox (almirant_webhooks.outbox_bucket(project_id), project_id, id)
    WHERE fanned_out_at IS NULL AND rejected_reason IS NULL;
CREATE INDEX outbox_marked_by_time ON almirant_webhooks.outbox (fanned_out_at) WHERE fanned_out_at IS NOT NULL;
CREATE INDEX outbox_rejected ON almirant_webhooks.outbox (id) WHERE rejected_reason IS NOT NULL;

CREATE TABLE almirant_webhooks.outbox_meta (
    id integer PRIMARY KEY CONSTRAINT "outbox_meta has one row" CHECK (id = 1),
    schema_version integer NOT NULL,
    database_id text,                  -- the database that takes from this outbox; NULL until one does
    batch bigint NOT NULL DEFAULT 0    -- the last batch that it took
);

-- An INSERT wakes the daemon. A NOTIFY makes commits wait for each other, so of transactions that insert at the same time
-- one alone sends it: whoever has the lock, for which nobody waits. The daemon looks once a second in any case.
-- With OVERRIDING SYSTEM VALUE an id that the sequence has still to give would keep a later row out.
CREATE FUNCTION almirant_webhooks.outbox_inserted() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM inserted WHERE id > (SELECT last_value FROM almirant_webhooks.outbox_id_seq)) THEN
        RAISE EXCEPTION USING MESSAGE = 'id must be left out', ERRCODE = 'check_violation', TABLE = 'outbox', COLUMN = 'id';
    END IF;
    IF pg_try_advisory_xact_lock(1634495863, TG_RELID::int4) THEN
        PERFORM pg_notify(TG_TABLE_SCHEMA || '_outbox', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER outbox_inserted AFTER INSERT ON almirant_webhooks.outbox
    REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION almirant_webhooks.outbox_inserted();

INSERT INTO almirant_webhooks.outbox_meta (id, schema_version) VALUES (1, 1);
