-- A producer's session may read the backslash of a plain literal otherwise (standard_conforming_strings = off), and look for functions
-- and operators in schemas of its own first (search_path). What they come to is what it was, so the index stays as it is.
CREATE OR REPLACE FUNCTION almirant_webhooks.outbox_bucket(project_id text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.get_byte(pg_catalog.sha256(
        pg_catalog.replace(project_id, E'\\', E'\\\\')::pg_catalog.bytea), 0) OPERATOR(pg_catalog.%) 64
$$;

CREATE OR REPLACE FUNCTION almirant_webhooks.outbox_is_object(payload text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN pg_catalog.json_typeof(payload::pg_catalog.json) OPERATOR(pg_catalog.=) 'object';
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END $$;

UPDATE almirant_webhooks.outbox_meta SET schema_version = 2;
