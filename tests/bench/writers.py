"""Writes to a database in PostgreSQL what daemons write, without a request: `python -m tests.bench.writers URL KEY NUMBER OF`.

It is the process `NUMBER` of so many, each with a share of the buckets. It begins with a line of its input, and ends with another.
"""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome, Result
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.rules.buckets import ALL
from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.rules.retry import Schedule
from almirant_webhooks.storage.engine import ReadPlan, Work
from almirant_webhooks.storage.postgres.database_session import open_database
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.share import Share
from almirant_webhooks.storage.postgres.stores import PostgresDeliveryStore

BATCH = 64  # events
_HEADERS = (("Server", "nginx"), ("Content-Type", "text/plain"), ("Content-Length", "7"))


def main() -> None:
    """Take all events of a share, and record that each of their deliveries has succeeded."""
    url, key, number, of = sys.argv[1:]
    share = Share()
    share.active = frozenset(bucket for bucket in ALL if bucket % int(of) == int(number))
    store = PostgresDeliveryStore(Inside(keep=False, share=share))
    schedule = Schedule((timedelta(0), timedelta(minutes=1)))
    parsed = parse_postgres_url(url)
    assert parsed is not None
    with closing(open_database(Place(parsed, "almirant_webhooks"), Seals(Path(key), is_own=False))) as session:
        print("ready", flush=True)
        sys.stdin.readline()
        results: list[Result] = []
        while True:
            work = Work(results, to_read=ReadPlan(BATCH), take_slot=lambda webhook, served: True)
            with store.transaction(session):
                begun = store.write(session, work, schedule, clock.now()).begun
            if not (begun or results):
                break
            results = [
                Result(
                    claim, Outcome.SUCCESS, clock.now(), 5, 200, response_headers=_HEADERS, response_body=b"thanks\n"
                )
                for claim in begun
            ]
        sys.stdin.readline()  # the server's process for this one is there until then


if __name__ == "__main__":
    main()
