// A receiver with nothing but Node.js: WEBHOOK_SECRET=… PORT=8000 node receiver.js
const crypto = require('node:crypto');
const http = require('node:http');

const key = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ''), 'base64');
const seen = new Map(); // for a day at least; in a real application a table with a unique column

function isGenuine(headers, body) {
  const sent = headers['webhook-timestamp'] ?? '';
  if (!/^[0-9]{1,12}$/.test(sent) || Math.abs(Date.now() / 1000 - Number(sent)) > 300) {
    return false; // missing, malformed, or replayed
  }
  const signed = Buffer.concat([Buffer.from(`${headers['webhook-id']}.${sent}.`), body]);
  const expected = Buffer.from('v1,' + crypto.createHmac('sha256', key).update(signed).digest('base64'));
  return (headers['webhook-signature'] ?? '').split(' ').some((one) => {
    const given = Buffer.from(one); // timingSafeEqual throws when lengths differ
    return given.length === expected.length && crypto.timingSafeEqual(given, expected);
  });
}

http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts); // the bytes as they came, not JSON that was parsed and written again
    if (!isGenuine(request.headers, body)) {
      response.writeHead(401).end();
      return;
    }
    let event;
    try {
      event = JSON.parse(body);
    } catch {
      response.writeHead(400).end();
      return;
    }
    const delivery = request.headers['webhook-id'];
    if (!seen.has(delivery)) {
      console.log(event.type); // put it into a queue here, and work later
      seen.set(delivery, Date.now());
    }
    response.writeHead(200).end(); // only now: what was answered with 200 is not sent again
  });
}).listen(Number(process.env.PORT), '127.0.0.1');
