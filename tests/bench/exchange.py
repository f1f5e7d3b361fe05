"""One request of 1 KB over a kept connection: the sender's exchange beside aiohttp's session, in the same run by turns.

`python -m tests.bench.exchange URL COUNT IN_FLIGHT` is the sender alone; it prints requests a second and µs of CPU for each.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from almirant_webhooks import clock
from almirant_webhooks.model import Claim, Outcome, Trigger
from almirant_webhooks.rules import signing
from almirant_webhooks.rules.urls import Policy
from almirant_webhooks.sending.sender import Sender

from .bare import BODY
from .nginx import Nginx, nginx
from .table import Figure, Sizes, median
from .throughput import Speed, bare

IN_FLIGHT = 160  # as the bare loop has


async def send(url: str, count: int, in_flight: int, ca_file: str) -> Speed:
    """Make `count` attempts with so many in flight."""
    now = clock.now()
    claim = signing.signed(
        Claim("dlv_1", "wh_1", "evt_1", "lead.created", url, "s" * 20, BODY, 1, Trigger.SCHEDULED, False, now)
    )
    left = iter(range(count))
    sender = Sender(Policy(allow_localhost=True), timeout=10, max_response_body=16 * 1024, ca_file=ca_file)
    await sender.start()

    async def one_after_the_other() -> None:
        for _ in left:
            assert (await sender.send(claim)).outcome is Outcome.SUCCESS

    begin, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))
    speed = Speed(count / (time.perf_counter() - begin), (time.process_time() - cpu) / count * 1e6)
    await sender.close()
    return speed


def _own(server: Nginx, *, tls: bool, count: int) -> Speed:
    """Measure the sender, in a process of its own."""
    more = ["--ca-file", str(server.ca_file)] if tls else []
    url = (server.tls if tls else server.http) + "/in"
    command = [sys.executable, "-m", "tests.bench.exchange", url, str(count), str(IN_FLIGHT), *more]
    return Speed(*map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()))


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the processor time of an exchange over HTTP and TLS, and how often it goes into that of aiohttp's session."""
    count = sizes.of(30_000, 3_000)
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for name, tls in (("HTTP", False), ("TLS", True)):
            pairs = [(bare(server, tls=tls, count=count), _own(server, tls=tls, count=count)) for _ in sizes.rounds]
            ratios = [own.cpu / session.cpu for session, own in pairs]
            yield Figure(
                f"one exchange, {name}",
                f"{median(own.cpu for _, own in pairs):.0f} µs of CPU, {median(own.rate for _, own in pairs):,.0f}/s",
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of aiohttp's session's "
                f"{median(session.cpu for session, _ in pairs):.0f} µs, {median(session.rate for session, _ in pairs):,.0f}/s",
            )


def main() -> None:
    """Print both numbers."""
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("count", type=int)
    options.add_argument("in_flight", type=int)
    options.add_argument("--ca-file", default="")
    arguments = options.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(*runner.run(send(arguments.url, arguments.count, arguments.in_flight, arguments.ca_file)))


if __name__ == "__main__":
    main()
