// Inserts an event in one transaction with a business change: node insert.js FILE
import Database from 'libsql';

const db = new Database(process.argv[2]);
db.exec('PRAGMA busy_timeout = 10000');
const place = db.transaction((item) => {
  db.prepare('INSERT INTO orders (item) VALUES (?)').run(item);
  db.prepare('INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, ?)').run(
    'proj_1',
    'work_item.created',
    JSON.stringify({ producer: 'node', item }),
  );
});
place('boots');
try {
  db.transaction(() => {
    db.prepare('INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, ?)').run('proj_1', 'Bad type', '{}');
  })();
} catch (error) {
  console.log(error.message);
}
db.close();
