"""SQLAlchemy: python with_sqlalchemy.py FILE"""

import json
import sys

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

engine = sa.create_engine(f"sqlite:///{sys.argv[1]}", connect_args={"timeout": 5})  # busy_timeout
outbox = sa.Table("outbox", sa.MetaData(), autoload_with=engine)
event = insert(outbox).on_conflict_do_nothing(index_elements=["project_id", "event_id"])

with engine.begin() as conn:  # one short transaction: both rows or neither
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
