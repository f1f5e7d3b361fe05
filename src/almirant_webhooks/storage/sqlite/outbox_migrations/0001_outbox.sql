-- The outbox (contract, section 2). Any program may insert; a row that breaks a rule is refused by the rule's name.

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    -- Milliseconds first, then random: ids of later events sort later, so that a large log grows at its indexes' ends.
    event_id TEXT NOT NULL DEFAULT (
        'evt_' || printf('%012x', (julianday('now') - 2440587.5) * 86400000) || lower(hex(randomblob(10)))),
    project_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    payload TEXT NOT NULL,
    occurred_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    fanned_out_at TEXT,
    rejected_reason TEXT,
    CONSTRAINT "id must be below 2^62"
        CHECK (id < 4611686018427387904),
    CONSTRAINT "event_id must be 1 to 128 letters, digits, _, - or :"
        CHECK (instr(event_id, char(0)) = 0 AND length(event_id) BETWEEN 1 AND 128
               AND event_id NOT GLOB '*[^A-Za-z0-9_:-]*'),
    CONSTRAINT "project_id must be 1 to 128 printable ASCII characters without spaces"
        CHECK (instr(project_id, char(0)) = 0 AND length(project_id) BETWEEN 1 AND 128
               AND project_id NOT GLOB '*[^!-~]*'),
    CONSTRAINT "event_type must be dotted lower-case words such as work_item.created, at most 128 characters"
        CHECK (instr(event_type, char(0)) = 0 AND length(event_type) <= 128
               AND event_type GLOB '[a-z0-9_]*.*[a-z0-9_]'
               AND event_type NOT GLOB '*[^a-z0-9_.]*' AND event_type NOT GLOB '*..*'),
    CONSTRAINT "payload must be at most 256 KiB of UTF-8"
        CHECK (length(CAST(payload AS BLOB)) <= 262144),
    CONSTRAINT "payload must be a JSON object"
        CHECK (CASE WHEN length(CAST(payload AS BLOB)) > 262144 THEN 1
                    WHEN instr(payload, char(0)) > 0 THEN 0
                    WHEN json_valid(payload) THEN json_type(payload) = 'object' ELSE 0 END),
    CONSTRAINT "occurred_at must be a UTC time written YYYY-MM-DDTHH:MM:SS.mmmZ"
        CHECK (instr(occurred_at, char(0)) = 0
               AND occurred_at IS strftime('%Y-%m-%dT%H:%M:%fZ', occurred_at, '+0 days')),
    CONSTRAINT "an event_id is used once in its project" UNIQUE (project_id, event_id)
) STRICT;

CREATE INDEX outbox_unread ON outbox (id) WHERE fanned_out_at IS NULL AND rejected_reason IS NULL;
CREATE INDEX outbox_marked_by_time ON outbox (fanned_out_at) WHERE fanned_out_at IS NOT NULL;
CREATE INDEX outbox_rejected ON outbox (id) WHERE rejected_reason IS NOT NULL;

CREATE TABLE outbox_meta (
    id INTEGER PRIMARY KEY CONSTRAINT "outbox_meta has one row" CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    database_id TEXT,                     -- the database that takes from this outbox; NULL until one does
    batch INTEGER NOT NULL DEFAULT 0      -- the last batch that it took
) STRICT;

INSERT INTO outbox_meta (id, schema_version) VALUES (1, 1);
