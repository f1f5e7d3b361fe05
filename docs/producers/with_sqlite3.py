"""Python's sqlite3: python with_sqlite3.py FILE"""

import json
import sqlite3
import sys

# `with conn` below commits or rolls back; synchronous stays FULL, its default, so that what was committed survives power loss.
conn = sqlite3.connect(sys.argv[1], timeout=5)  # busy_timeout: wait for other writers
with conn:  # one short transaction: both rows or neither
    conn.execute("INSERT INTO orders (item) VALUES ('boots')")
    conn.execute(
        "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (project_id, event_id) DO NOTHING",  # idempotent: a repeat inserts nothing
        ("proj_1", "lead.created", json.dumps({"lead": {"id": "lead_52"}}), "lead-52-created"),
    )
conn.close()
