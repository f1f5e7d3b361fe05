-- A trigger on a business table: psql --set ON_ERROR_STOP=1 --file trigger.sql URL
-- Who writes to the table needs no code of its own, and none can forget the event. The function has the rights of its owner,
-- so those who write to the table need none on the outbox. json_build_object keeps the order of its keys; jsonb does not.
BEGIN;

CREATE OR REPLACE FUNCTION tell_of_order() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload, event_id)
    VALUES (
        'proj_1',
        'lead.created',
        json_build_object('lead', json_build_object('id', NEW.id, 'item', NEW.item))::text,
        'order-' || NEW.id || '-created'
    )
    ON CONFLICT (project_id, event_id) DO NOTHING;
    RETURN NULL;
END
$$;

REVOKE EXECUTE ON FUNCTION tell_of_order() FROM PUBLIC; -- or others could put it on tables of theirs

CREATE OR REPLACE TRIGGER tell_of_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION tell_of_order();

COMMIT;
