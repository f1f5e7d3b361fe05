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
