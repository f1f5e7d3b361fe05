-- Plain SQL: psql --set ON_ERROR_STOP=1 --file insert.sql URL
BEGIN; -- one transaction: both rows or neither
INSERT INTO orders (item) VALUES ('boots');
INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload, event_id)
VALUES ('proj_1', 'lead.created', '{"lead": {"id": "lead_52"}}', 'lead-52-created')
ON CONFLICT (project_id, event_id) DO NOTHING; -- idempotent: a repeat inserts nothing
COMMIT;
