-- Two CHECKs that hold in every database: SQLite before 3.38 reads one time in a hundred a millisecond too early where it
-- adds days to it, and in a database whose encoding is UTF-16 a cast to BLOB has other bytes than UTF-8 (printf counts
-- those). What is stored does not change, so the text of the table alone does, and an application's triggers stay:
-- https://www.sqlite.org/lang_altertable.html#making_other_kinds_of_table_schema_changes

PRAGMA writable_schema=ON;
UPDATE sqlite_schema SET sql = replace(replace(replace(sql,
    'AND occurred_at IS strftime(''%Y-%m-%dT%H:%M:%fZ'', occurred_at, ''+0 days''))',
    'AND occurred_at IS strftime(''%Y-%m-%dT%H:%M:%fZ'', occurred_at)
               AND date(occurred_at, ''+0 days'') = substr(occurred_at, 1, 10))'),
    'CHECK (length(CAST(payload AS BLOB)) <= 262144)',
    'CHECK (CASE WHEN length(CAST(payload AS BLOB)) <= 131072 THEN 1
                    WHEN length(CAST(payload AS BLOB)) > 524288 THEN 0
                    ELSE length(printf(''%.262144s'', payload)) = length(payload) END)'),
    'CASE WHEN length(CAST(payload AS BLOB)) > 262144 THEN 1',
    'CASE WHEN length(CAST(payload AS BLOB)) > 524288 THEN 1')
WHERE type = 'table' AND name = 'outbox';
PRAGMA writable_schema=OFF;

-- Every connection reads the tables anew.
CREATE VIEW outbox_has_changed AS SELECT 1;
DROP VIEW outbox_has_changed;

UPDATE outbox_meta SET schema_version = 3;
