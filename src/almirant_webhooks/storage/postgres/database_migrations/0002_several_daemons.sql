-- Which keys of sealed values each daemon has read, by their ids, with blanks between them; NULL: it is of the release before.
ALTER TABLE almirant_webhooks.daemons ADD COLUMN key_ids text COLLATE "C";

-- Daemons take numbers at the same time. Those of one project come from one daemon at a time, in order. Numbers of deliveries and
-- verdicts count too: if an event's row was deleted by hand, they must not get another event.
CREATE SEQUENCE event_numbers OWNED BY events.seq;
SELECT setval('event_numbers', greatest((SELECT max(seq) FROM events), (SELECT max(event_seq) FROM deliveries),
                                        (SELECT max(event_seq) FROM filtered_out), 0) + 1, false);
