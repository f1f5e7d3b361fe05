"""SQLAlchemy with psycopg 3: python with_sqlalchemy.py URL"""

import json
import sys

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

engine = sa.create_engine(sa.make_url(sys.argv[1]).set(drivername="postgresql+psycopg"))
outbox = sa.table(  # its name and the columns that are yours
    "outbox", *map(sa.column, ("project_id", "event_type", "payload", "event_id")), schema="almirant_webhooks"
)
event = insert(outbox).on_conflict_do_nothing(index_elements=["project_id", "event_id"])

with engine.begin() as conn:  # one transaction: both rows or neither
    conn.execute(sa.text("INSERT INTO orders (item) VALUES ('boots')"))
    conn.execute(
        event.values(
            project_id="proj_1",
            event_type="lead.created",
            payload=json.dumps({"lead": {"id": "lead_52"}}),
            event_id="lead-52-created",
        )
    )
engine.dispose()
