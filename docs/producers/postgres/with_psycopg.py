"""psycopg 3: python with_psycopg.py URL"""

import json
import sys

import psycopg

with psycopg.connect(sys.argv[1]) as conn:  # one transaction, committed when the block ends: both rows or neither
    conn.execute("INSERT INTO orders (item) VALUES ('boots')")
    conn.execute(
        "INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload, event_id) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT (project_id, event_id) DO NOTHING",  # idempotent: a repeat inserts nothing
        ("proj_1", "lead.created", json.dumps({"lead": {"id": "lead_52"}}), "lead-52-created"),
    )
