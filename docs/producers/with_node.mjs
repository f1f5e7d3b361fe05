// Node.js with libsql: node with_node.mjs FILE
import Database from 'libsql';

const db = new Database(process.argv[2]);
db.exec('PRAGMA busy_timeout = 5000'); // wait for other writers
db.exec('PRAGMA synchronous = FULL'); // so that what was committed survives power loss

const place = db.transaction((item) => { // one short transaction: both rows or neither
  db.prepare('INSERT INTO orders (item) VALUES (?)').run(item);
  db.prepare(
    'INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (?, ?, ?, ?) ' +
      'ON CONFLICT (project_id, event_id) DO NOTHING', // idempotent: a repeat inserts nothing
  ).run('proj_1', 'lead.created', JSON.stringify({ lead: { id: 'lead_52' } }), 'lead-52-created');
});
place.immediate('boots'); // takes the write lock at once, so that it is waited for
db.close();
