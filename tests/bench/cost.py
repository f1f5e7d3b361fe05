"""What a delivery costs in processor time, by part: all threads of the daemon sampled from outside while it works.

py-spy reads the stack of every thread that is on a processor, 200 times a second, out of the daemon's memory: it needs
neither Python's lock nor a change of the daemon, so that what is sampled is what runs. The share of a part in the
samples, times the processor time that the kernel counted, is the part's cost.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .daemon import check_rows, cpu_seconds, scratch
from .nginx import Nginx, nginx
from .table import Figure, Sizes, median
from .throughput import DONE, WEBHOOKS, bare

SAMPLES_A_SECOND = 200
SOCKETS = "event loop and sockets (uvloop)"
OTHER = "the rest"
# What the files of a stack belong to; the innermost one that is named here decides.
PARTS = {
    "HTTP client": ("aiohttp/", "yarl/", "multidict/", "/sender.py", "/answers.py", "/causes.py", "/resolver.py", "/egress.py", "/addresses.py"),
    "signing": ("/signing.py",),
    "SQL, outbox: read and mark": ("db/outbox.py",),
    "SQL, fan out": ("db/fanout.py",),
    "SQL, claim": ("db/deliveries.py",),
    "SQL, record": ("db/results.py",),
    "SQL, begin and commit": ("db/connection.py",),
    "logs and metrics": ("structlog/", "logging/", "prometheus_client/", "/metrics.py"),
    "scheduling": ("/dispatcher.py", "/fairness.py", "/intake.py", "/outage.py", "/watcher.py", "db/worker.py", "aiosqlite/"),
}  # fmt: skip


def _part(stack: list[str]) -> str:
    for frame in reversed(stack):
        if "_report (" in frame:
            return "logs and metrics"
        for part, files in PARTS.items():
            if any(file in frame for file in files):
                return part
    return SOCKETS if any("runners.py" in frame for frame in stack) else OTHER


def _profile(server: Nginx, events: int) -> tuple[float, Counter[str]]:
    """Return the microseconds of processor time of a delivery, and how often each part was seen."""
    with scratch() as bench:
        bench.add_webhooks(server.http, WEBHOOKS)
        samples = bench.folder / "samples.txt"
        with bench.running() as process:
            command: list[str | Path] = [
                Path(sys.executable).with_name("py-spy"), "record", "--pid", str(process.pid), "--rate", str(SAMPLES_A_SECOND),
                "--format", "raw", "--full-filenames", "--nolineno", "--output", samples,
            ]  # fmt: skip
            sampler = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            assert sampler.stdout is not None
            said = sampler.stdout.readline()
            before = cpu_seconds(process.pid)
            bench.insert(events, projects=WEBHOOKS)
            bench.wait_until(DONE, events)
            cpu = cpu_seconds(process.pid) - before
        said += sampler.communicate()[0]
        if not samples.exists():
            raise SystemExit(f"py-spy could not sample the daemon: {said}")
        check_rows(bench, events)
        seen: Counter[str] = Counter()
        for line in samples.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            seen[_part(stack.split(";"))] += int(count)
    return cpu / events * 1e6, seen


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield the whole cost beside that of a bare request, and then the parts."""
    events = sizes.of(50_000, 2_000)
    wholes, floors, parts = [], [], []
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for _ in sizes.rounds:
            floors.append(bare(server, tls=False, count=events).cpu)
            whole, seen = _profile(server, events)
            wholes.append(whole)
            parts.append({part: whole * count / seen.total() for part, count in seen.items()})
    yield Figure("cost of a delivery", f"{median(wholes):.0f} µs of CPU", f"a bare loop {median(floors):.0f} µs")
    for part in (SOCKETS, *PARTS, OTHER):
        own = median(one.get(part, 0.0) for one in parts)
        yield Figure(f"cost: {part}", f"{own:.0f} µs", f"{own / median(wholes) * 100:.0f} % of it")
