"""Many deliveries in PostgreSQL with retention at work: how much of the throughput is left, and what dead rows and tables come to."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .nginx import nginx
from .postgres import WholeBench, own_server, whole
from .table import Figure, Sizes, median

WEBHOOKS = 128
AT_ONCE = 20_000  # events that are inserted together, and delivered before the next ones are
ENDS = 3  # of these parts, at both ends, the middle one counts
KEPT = "[retention]\nsucceeded = '30s'\n"
LEFT = 0.75  # of the throughput at the start
_DEAD = "SELECT sum(n_dead_tup), sum(n_live_tup), sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables"


class Part(NamedTuple):
    """Deliveries a second, and dead rows, live rows and bytes of all tables after them."""

    rate: float
    dead: int
    live: int
    size: int


def _deliver(bench: WholeBench, before: int, events: int) -> Part:
    begun = time.monotonic()
    bench.insert(events, projects=WEBHOOKS)
    bench.wait_for(before + events)
    seconds = time.monotonic() - begun
    dead, live, size = bench.there.ask(_DEAD)[0]
    return Part(events / seconds, int(dead), int(live), int(size))


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the throughput of the last parts beside the first, and the most dead rows of the second half beside the first half's."""
    at_once = sizes.of(AT_ONCE, 300)
    count = max(2 * ENDS, sizes.of(sizes.deliveries, 1_800) // at_once)
    with (
        tempfile.TemporaryDirectory() as folder,
        nginx(Path(folder)) as receivers,
        own_server() as server,
        whole(server, KEPT) as bench,
    ):
        bench.add_webhooks(receivers.http, WEBHOOKS)
        with bench.running():
            parts = [_deliver(bench, number * at_once, at_once) for number in range(count)]
    first, last = (median(part.rate for part in some) for some in (parts[:ENDS], parts[-ENDS:]))
    halves = parts[: count // 2], parts[count // 2 :]
    dead = [max(part.dead for part in half) for half in halves]
    size = [max(part.size for part in half) / 1e6 for half in halves]
    after = f"after {count * at_once:,} deliveries in PostgreSQL that are kept for 30 s"
    yield Figure(
        f"throughput {after}",
        f"{last:,.0f}/s",
        f"{last / first:.2f} of that of the first, {first:,.0f}/s",
        f"≥ {LEFT} of the first",
        last >= LEFT * first,
    )
    yield Figure(
        f"dead rows {after}, the most in the second half",
        f"{dead[1]:,}, {parts[-1].live:,} live at the end; tables of {size[1]:,.0f} MB at most",
        f"{dead[0]:,} in the first half; {size[0]:,.0f} MB",
    )
