"""Isolation with two daemons on one database in PostgreSQL: the cases of `isolation` and `hostile`, with load at both daemons."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..support.hostile import all_of_them
from . import hostile, isolation
from .daemon import PAYLOAD, Bench
from .daemons import sharing
from .isolation import INTERVAL, SECONDS
from .postgres import WholeBench, own_server, whole
from .steady import Prepare, Run, measure
from .table import Figure, Sizes

DAEMONS = 2
PROJECTS = 8  # of what is beside the good one: each daemon has some of them
_DUE = """
WITH made AS MATERIALIZED (
    SELECT nextval('event_numbers') AS seq, 'evt_' || md5(random()::text || n) AS id, w.id AS webhook_id, w.project_id
    FROM (SELECT %s::text[] AS webhooks) given CROSS JOIN generate_series(0, %s - 1) n
    JOIN webhooks w ON w.id = webhooks[1 + n %% cardinality(webhooks)]),
inserted AS (
    INSERT INTO events (seq, id, project_id, event_type, occurred_at, created_at, body)
    SELECT seq, id, project_id, 'work_item.created', now(), now(), '{"id": "' || id ||
           '", "type": "work_item.created", "timestamp": "2026-11-23T09:00:00.000Z", "projectId": "' || project_id ||
           '", "data": ' || %s || '}'
    FROM made)
INSERT INTO deliveries (id, event_seq, event_id, webhook_id, next_attempt_at, created_at)
SELECT 'dlv_' || lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || lpad(to_hex(seq), 16, '0'), seq, id, webhook_id,
       now() + make_interval(secs => %s), now()
FROM made
"""


def fill_due(bench: Bench, webhooks: Sequence[str], count: int, /, *, within: float = 0) -> None:
    """Write deliveries that are due, all of them at the same moment, in so many seconds."""
    assert isinstance(bench, WholeBench)
    bench.there.ask(_DUE, list(webhooks), count, PAYLOAD, within)
    bench.there.ask("ANALYZE")  # as autovacuum does within a minute


@contextmanager
def _running(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    assert isinstance(bench, WholeBench)
    with sharing(bench, DAEMONS) as processes:
        yield processes[0]


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the good one's delays beside each of the cases."""
    count = sizes.of(int(SECONDS / INTERVAL), 200)
    with all_of_them() as ports, own_server() as server:
        cases = isolation.cases(sizes, fill_due, PROJECTS, sizes.of(10, 6)) | hostile.cases(ports, count * INTERVAL)

        def run(prepare: Prepare | None = None) -> Run:
            return measure(count, INTERVAL, prepare, opened=lambda: whole(server), running=_running)

        alone: list[Run] = []
        beside: dict[str, list[Run]] = {name: [] for name in cases}
        for _ in sizes.rounds:
            alone.append(run())
            for name, prepare in cases.items():
                beside[name].append(run(prepare))
    for name, runs in beside.items():
        yield isolation.compared(f"with {DAEMONS} daemons on PostgreSQL: a good webhook beside {name}", runs, alone)
