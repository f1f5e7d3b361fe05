"""A receiver with nothing but the standard library: WEBHOOK_SECRET=… PORT=8000 python receiver.py"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WEBHOOK_SECRET"]  # whsec_…
KEY = base64.b64decode(SECRET.removeprefix("whsec_"))
seen: dict[str, float] = {}  # for a day at least; in a real application a table with a unique column


def is_genuine(headers, body: bytes) -> bool:
    delivery, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isascii() or not sent.isdigit() or abs(time.time() - int(sent[:12])) > 300:
        return False  # missing, malformed, or replayed
    signed = f"{delivery}.{sent}.".encode("utf-8", "surrogateescape") + body
    expected = b"v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest())
    given = headers.get("webhook-signature", "").encode("utf-8", "surrogateescape").split()
    return any(hmac.compare_digest(one, expected) for one in given)


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(length)) if length.isdigit() and int(length) < 2**20 else b""
        if not is_genuine(self.headers, body):
            return self.answer(401)
        try:
            event = json.loads(body)
        except ValueError:
            return self.answer(400)
        delivery = self.headers["webhook-id"]
        if delivery not in seen:
            print(event["type"], flush=True)  # put it into a queue here, and work later
            seen[delivery] = time.time()
        return self.answer(200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
