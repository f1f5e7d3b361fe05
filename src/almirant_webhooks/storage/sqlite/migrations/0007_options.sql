-- What a webhook can be told: a column for each option. NULL is a webhook that was not told.
ALTER TABLE webhooks ADD COLUMN concurrency INTEGER
    CONSTRAINT "concurrency is 1 to 64" CHECK (concurrency BETWEEN 1 AND 64);   -- in place of the setting's
ALTER TABLE webhooks ADD COLUMN headers TEXT   -- a JSON list of a name and a value for each further request header
    CONSTRAINT "headers is a JSON list" CHECK (headers IS NULL OR (json_valid(headers) AND json_type(headers) = 'array'));
