"""`migrate --from`: a long log in a file is moved to a server, as a whole, and killed in its midst and run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .daemon import Bench, scratch
from .lists import fill
from .postgres import WholeBench, own_server, whole
from .table import Figure, Sizes

ROWS = "SELECT count(*) FROM deliveries"


def _begin(source: Bench, target: WholeBench) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name("almirant-webhooks")
    words = ["migrate", "--from", str(source.database), "--config", str(target.configure())]
    return subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)


def _end(process: subprocess.Popen[bytes]) -> float:
    """Wait for it; return the most memory that it has had, in MB."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"`migrate --from` ended with {process.returncode}: this run does not count.")
    return used.ru_maxrss / 1024


def _kill_once_there_are(rows: int, process: subprocess.Popen[bytes], target: WholeBench) -> None:
    while target.there.ask(ROWS)[0][0] < rows and process.poll() is None:
        time.sleep(0.2)
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    if process.wait() == 0:
        raise SystemExit("`migrate --from` was over before it was killed: this run does not count.")


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield how long it takes and how much memory, and how long it takes in all if it is killed."""
    count = sizes.of(1_000_000, 12_000)
    with scratch() as source, own_server() as server:
        fill(source, count)
        size = source.database.stat().st_size
        with whole(server) as target:
            begun = time.monotonic()
            memory = _end(_begin(source, target))
            seconds = time.monotonic() - begun
            assert target.there.ask(ROWS)[0][0] == count
        with whole(server) as target:
            begun = time.monotonic()
            _kill_once_there_are(count // 2, _begin(source, target), target)
            _end(_begin(source, target))
            cut = time.monotonic() - begun
            assert target.there.ask(ROWS)[0][0] == count
    yield Figure(
        f"`migrate --from` of {count:,} deliveries in a file of {size / 1e6:,.0f} MB",
        f"{seconds:.0f} s, {memory:.0f} MB of memory at most",
        f"{cut:.0f} s with a `kill -9` in its midst",
    )
