-- SQLite numbers a row with the largest id and one more. An explicit id near the end of all numbers was accepted and kept
-- every later row out. What is there of such rows gets lower ids (an id is no cursor, and an event is known by its
-- event_id); from now on an id from 2^61 on is refused unless it is the next.

UPDATE OR IGNORE outbox SET id = id - 2305843009213693952 WHERE id >= 4611686014132420608;  -- 2^62 - 2^32

CREATE TRIGGER outbox_id_when_inserted AFTER INSERT ON outbox WHEN NEW.id >= 2305843009213693952
BEGIN
    SELECT RAISE(ABORT, 'id must be below 2^61, or be left out')
    WHERE NEW.id > 1 + coalesce((SELECT max(id) FROM outbox WHERE id < NEW.id), 0);
END;

CREATE TRIGGER outbox_id_when_updated AFTER UPDATE OF id ON outbox WHEN NEW.id >= 2305843009213693952
BEGIN
    SELECT RAISE(ABORT, 'id must be below 2^61, or be left out')
    WHERE NEW.id > 1 + coalesce((SELECT max(id) FROM outbox WHERE id < NEW.id), 0);
END;

UPDATE outbox_meta SET schema_version = 2;
