-- Which keys of sealed values each daemon has read, by their ids, with blanks between them; NULL: it is of the release before.
ALTER TABLE almirant_webhooks.daemons ADD COLUMN key_ids text COLLATE "C";
