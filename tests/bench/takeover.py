"""Three daemons on one database in PostgreSQL, one of which is killed: how long its webhooks wait for the others."""

from __future__ import annotations

import time
from collections.abc import Iterator

from almirant_webhooks.rules.buckets import bucket_of

from ..support.postgres import Server
from .daemons import sharing
from .postgres import SUCCEEDED, own_server, whole
from .producer import inserting
from .receiver import receiver
from .table import Figure, Sizes, median

DAEMONS = 3
WEBHOOKS = 64  # each in a project of its own, so that every daemon has some
WITHIN = 8.0  # seconds: the lease, and the look that finds it over
_OWNED = "SELECT b.number FROM buckets b JOIN daemons d ON d.id = b.daemon_id WHERE d.name LIKE %s"


def _seconds(server: Server) -> float:
    """Return the seconds from the kill until each webhook of the daemon that is gone had the first event of after that."""
    with whole(server) as bench:
        with receiver(bench.folder) as there, sharing(bench, DAEMONS) as processes:
            bench.add_webhooks(f"{there.url}/ok", WEBHOOKS)
            owned = {number for (number,) in bench.there.ask(_OWNED, f"%process {processes[0].pid}")}
            projects = [name for name in (f"proj_{number}" for number in range(WEBHOOKS)) if bucket_of(name) in owned]
            if not projects:
                raise SystemExit(
                    "The daemon that is to be killed owns no project with a webhook: this run does not count."
                )
            processes[0].kill()
            killed = time.monotonic()
            with inserting(bench.inserted_into) as insert:
                events = [insert(project) for project in projects]
            bench.wait_until(SUCCEEDED, len(events), within=120)
        return max(there.arrivals[event] for event in events) - killed


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield how long a take-over takes."""
    with own_server() as server:
        taken = [_seconds(server) for _ in sizes.rounds]
    yield Figure(
        "take-over after kill -9: first request of a taken-over webhook",
        f"{median(taken):.1f} s ({min(taken):.1f} to {max(taken):.1f})",
        "",
        f"≤ {WITHIN:.0f} s",
        max(taken) <= WITHIN,
    )
