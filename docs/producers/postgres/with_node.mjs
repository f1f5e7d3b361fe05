// Node.js with pg: node with_node.mjs URL
import pg from 'pg';

const client = new pg.Client({ connectionString: process.argv[2] });
await client.connect();
try {
  await client.query('BEGIN'); // one transaction, on one client: both rows or neither
  await client.query('INSERT INTO orders (item) VALUES ($1)', ['boots']);
  await client.query(
    'INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload, event_id) VALUES ($1, $2, $3, $4) ' +
      'ON CONFLICT (project_id, event_id) DO NOTHING', // idempotent: a repeat inserts nothing
    ['proj_1', 'lead.created', JSON.stringify({ lead: { id: 'lead_52' } }), 'lead-52-created'],
  );
  await client.query('COMMIT');
} catch (error) {
  await client.query('ROLLBACK');
  throw error;
} finally {
  await client.end();
}
