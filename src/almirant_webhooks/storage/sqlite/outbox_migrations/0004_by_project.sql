-- What waits, by project: each project is one step for the daemon, however many rows it has, so that all get their turns.
DROP INDEX outbox_unread;
CREATE INDEX outbox_unread ON outbox (project_id, id) WHERE fanned_out_at IS NULL AND rejected_reason IS NULL;

UPDATE outbox_meta SET schema_version = 4;
