"""PostgreSQL beside one file, by turns: the outbox alone there, and everything."""

from __future__ import annotations

import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, open_database, writing
from almirant_webhooks.storage.postgres.database_tables import migrate_database
from almirant_webhooks.storage.postgres.tables import migrate

from ..support.postgres import Outbox, Server, new_database
from .daemon import PAYLOAD, Bench, check_rows, cpu_seconds, create_webhooks, scratch
from .nginx import Nginx, nginx
from .producer import producing
from .receiver import receiver
from .steady import GOOD, Opened, Run, measure, middle, words
from .table import Figure, Sizes, median
from .throughput import WEBHOOKS, Speed

AGAIN_WITHIN = 5.0  # seconds from the server's return until an event arrives
SUCCEEDED = "SELECT count(*) >= ? FROM deliveries WHERE state = 'succeeded'"
_FILL = """
INSERT INTO outbox (project_id, event_type, payload)
SELECT %s || '_' || number %% %s, 'work_item.created', %s FROM generate_series(0, %s - 1) number
"""
RECORDED = (
    "SELECT count(*), count(*) FILTER (WHERE outcome = 'success'), min(started_at), max(started_at) FROM attempts"
)
_TAKEN = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"


class PostgresBench(Bench):
    """The same, with the outbox in a database of a server."""

    def __init__(self, folder: Path, there: Outbox) -> None:
        self.there = there
        super().__init__(folder, f'outbox.url = "{there.url}"')

    @property
    def inserted_into(self) -> str:
        """Where producers insert."""
        return self.there.url

    def insert(self, count: int, *, projects: int, project: str = "proj") -> None:
        """Insert events of 1 KB in one transaction, in turn over the projects."""
        self.there.ask(_FILL, project, projects, PAYLOAD, count)


class WholeBench(PostgresBench):
    """The same, with everything in a database of a server."""

    def __init__(self, folder: Path, there: Outbox, server: Server, settings: str = "") -> None:
        self.server = server
        self.settings = settings
        self.key = folder / "seal.key"
        self.key.write_text(sealed_texts.new_line())
        self.key.chmod(0o600)
        self.seals = Seals(self.key, is_own=False)
        migrate_database(there.place, self.seals)
        super().__init__(folder, there)

    def beside(self, number: int, port: int) -> WholeBench:
        """Return another daemon on the same database."""
        other = copy(self)
        other.folder, other.port = self.folder / str(number), port
        other.folder.mkdir()
        return other

    def configure(self) -> Path:
        """Write the configuration; return its file."""
        config = self.folder / "config.toml"
        config.write_text(
            f'database.url = "{self.there.url}"\nsecrets.key_file = "{self.key}"\nadmin.listen = "127.0.0.1:{self.port}"\n'
            f"egress.allow_localhost = true\n{self.settings}"
        )
        return config

    def open(self) -> DatabaseSession:
        """Open the database as a command does."""
        return open_database(self.there.place, self.seals)

    def add_webhooks(self, url: str, count: int, *, projects: int | None = None, project: str = "proj") -> list[str]:
        """Create webhooks, each in a project of its own unless `projects` says how many there are."""
        with closing(self.open()) as session, writing(session):
            made = create_webhooks(session, url, count, projects or count, project)
        self.there.ask("ANALYZE")  # as autovacuum does within a minute
        return made

    def read(self, query: str, *values: object) -> tuple[Any, ...]:
        """Return the first row of a query."""
        with closing(self.open()) as session:
            return tuple(session.execute(query, values).fetchone() or ())


class ApartBench(WholeBench):
    """The same, with the outbox in a database of an application's."""

    def __init__(self, folder: Path, there: Outbox, server: Server, outbox: Outbox) -> None:
        self.apart = outbox
        super().__init__(folder, there, server, f'outbox.url = "{outbox.url}"\n')
        with outbox.session() as session:
            migrate(session)

    def insert(self, count: int, *, projects: int, project: str = "proj") -> None:
        self.apart.ask(_FILL, project, projects, PAYLOAD, count)


@contextmanager
def apart(server: Server) -> Iterator[ApartBench]:
    """Make a bench with the database in a new one of the server, and the outbox in another, which are dropped in the end."""
    there, outbox = (new_database(with_outbox=False, its_server=server) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield ApartBench(Path(folder), there, server, outbox)
        finally:
            there.drop()
            outbox.drop()


@contextmanager
def whole(server: Server, settings: str = "") -> Iterator[WholeBench]:
    """Make a bench with everything in a new database of the server, which is dropped in the end; `settings` are its daemons' further ones."""
    there = new_database(with_outbox=False, its_server=server)
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield WholeBench(Path(folder), there, server, settings)
        finally:
            there.drop()


def server_cpu(server: Server) -> float:
    """Return the processor time that the processes of a server have used, in seconds."""
    assert server.process is not None
    used = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == server.process.pid:
                used += cpu_seconds(int(path.parent.name))
    return used


def _whole_speed(
    server: Server,
    receivers: Nginx,
    events: int,
    opened: Callable[[Server], AbstractContextManager[WholeBench]] = whole,
) -> tuple[Speed, float]:
    """Measure a daemon that has its database there, until all has been delivered; and the server's processor time in µs each."""
    with opened(server) as bench:
        bench.add_webhooks(receivers.http, WEBHOOKS)
        bench.insert(events, projects=WEBHOOKS)
        with bench.running() as process:
            before = server_cpu(server)
            bench.wait_for(events)
            cpu, served = cpu_seconds(process.pid), server_cpu(server) - before
        count, succeeded, first, last = bench.there.ask(RECORDED)[0]
        if count != events or succeeded != events:
            raise SystemExit(f"{succeeded} of {count} attempts succeeded, for {events}: this run does not count.")
        return Speed(events / (last - first).total_seconds(), cpu / events * 1e6), served / events * 1e6


@contextmanager
def _beside(server: Server) -> Iterator[PostgresBench]:
    """Make a bench with an outbox in a new database of the server."""
    there = new_database(with_outbox=False, its_server=server)
    with there.session() as session:
        migrate(session)
    with tempfile.TemporaryDirectory() as folder:
        yield PostgresBench(Path(folder), there)


@contextmanager
def own_server() -> Iterator[Server]:
    """Run a server of our own with its default settings, so that a commit is synced."""
    try:
        server = Server("")
    except pytest.skip.Exception as missing:
        raise SystemExit(f"{missing}: apt-get install postgresql") from None
    try:
        yield server
    finally:
        server.remove()


def _speed(opened: Opened, receivers: Nginx, events: int) -> Speed:
    """Measure a daemon that is started on a full outbox, until all has been delivered."""
    with opened() as bench:
        bench.add_webhooks(receivers.http, WEBHOOKS)
        bench.insert(events, projects=WEBHOOKS)
        with bench.running() as process:
            bench.wait_for(events)
            cpu = cpu_seconds(process.pid)
        if isinstance(bench, PostgresBench) and (left := bench.there.ask(_TAKEN)[0][0]):
            raise SystemExit(f"{left} rows of the outbox were not marked: this run does not count.")
        return Speed(check_rows(bench, events), cpu / events * 1e6)


def _steady(opened: Opened, count: int) -> Run:
    return measure(count, 0.01, opened=opened)


def _until_it_flows(server: Server, opened: Callable[[], AbstractContextManager[PostgresBench]]) -> float:
    """Return the seconds from the server's return to the arrival of an event that is committed then."""
    with opened() as bench:
        with receiver(bench.folder) as there:
            bench.add_webhooks(f"{there.url}/ok", 1, project=GOOD.removesuffix("_0"))
            with bench.running():
                bench.insert(1, projects=1, project=GOOD.removesuffix("_0"))
                bench.wait_until(SUCCEEDED, 1)
                server.stop()
                while _is_ready(bench):
                    time.sleep(0.05)
                server.start()
                back = time.monotonic()
                with producing(bench.inserted_into, GOOD, count=1, interval=0) as produced:
                    pass
                bench.wait_until(SUCCEEDED, 2)
        (event,) = produced.committed
        return there.arrivals[event] - back


def _is_ready(bench: Bench) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{bench.port}/readyz", timeout=5):
            return True
    except urllib.error.HTTPError:
        return False


def _spent(runs: Sequence[tuple[Speed, float]]) -> str:
    """Say the rate, and what each delivery took of the daemon and of the server."""
    return (
        f"{median(speed.rate for speed, _ in runs):,.0f}/s, {median(speed.cpu for speed, _ in runs):.0f} µs of the daemon's CPU "
        f"and {median(served for _, served in runs):.0f} µs of the server's each"
    )


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield throughput and latency, each with the middle ratio of pairs, and how long a return of the server takes."""
    events, steady = sizes.of(20_000, 1_000), sizes.of(2_000, 100)
    speeds: list[tuple[Speed, Speed]] = []
    runs: list[tuple[Run, Run, Run]] = []
    again: list[float] = []
    everything_again: list[float] = []
    everywhere: list[tuple[Speed, float]] = []
    outbox_apart: list[tuple[Speed, float]] = []
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as receivers, own_server() as server:
        for _ in sizes.rounds:
            speeds.append((_speed(lambda: _beside(server), receivers, events), _speed(scratch, receivers, events)))
            everywhere.append(_whole_speed(server, receivers, events))
            outbox_apart.append(_whole_speed(server, receivers, events, apart))
            runs.append(
                (
                    _steady(lambda: _beside(server), steady),
                    _steady(scratch, steady),
                    _steady(lambda: whole(server), steady),
                )
            )
            again.append(_until_it_flows(server, lambda: _beside(server)))
            everything_again.append(_until_it_flows(server, lambda: whole(server)))
    ratios = [own.rate / other.rate for own, other in speeds]
    yield Figure(
        "throughput with the outbox in PostgreSQL",
        f"{median(own.rate for own, _ in speeds):,.0f}/s, {median(own.cpu for own, _ in speeds):.0f} µs of the daemon's CPU each",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of one in SQLite, "
        f"{median(other.rate for _, other in speeds):,.0f}/s, {median(other.cpu for _, other in speeds):.0f} µs",
    )
    shares = [speed.rate / other.rate for (speed, _), (_, other) in zip(everywhere, speeds, strict=True)]
    yield Figure(
        "throughput with everything in PostgreSQL",
        _spent(everywhere),
        f"{median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}) of one in SQLite",
        "≥ 0.75",
        median(shares) >= 0.75,
    )
    of_whole = [speed.rate / other.rate for (speed, _), (other, _) in zip(outbox_apart, everywhere, strict=True)]
    yield Figure(
        "throughput with everything in PostgreSQL, the outbox in a database of its own",
        _spent(outbox_apart),
        f"{median(of_whole):.2f} ({min(of_whole):.2f} to {max(of_whole):.2f}) of one with the outbox in the database",
    )
    own, other, everything = ([run[side].delays for run in runs] for side in range(3))
    yield Figure(
        "latency at 100 events/s with the outbox in PostgreSQL",
        words(own),
        f"in SQLite {words(other)}; the INSERTs {words([run[0].inserts for run in runs])} and "
        f"{words([run[1].inserts for run in runs])}",
        "p50 ≤ 8 ms, p99 ≤ 40 ms",
        middle(own, 0.5) <= 8 and middle(own, 0.99) <= 40,
    )
    yield Figure(
        "latency at 100 events/s with everything in PostgreSQL",
        words(everything),
        f"in SQLite {words(other)}",
        "p50 ≤ 8 ms, p99 ≤ 40 ms",
        middle(everything, 0.5) <= 8 and middle(everything, 0.99) <= 40,
    )
    for name, seconds in (("an event", again), ("an event with everything there", everything_again)):
        yield Figure(
            f"from the return of PostgreSQL to the arrival of {name}",
            f"{median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f})",
            "",
            f"≤ {AGAIN_WITHIN:.0f} s",
            max(seconds) <= AGAIN_WITHIN,
        )
