"""Real parts for every test: SQLite files, the daemon, and receivers on loopback."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from hypothesis import settings

from almirant_webhooks.settings.loading import PREFIX

from .support import needs
from .support.daemons import Daemons
from .support.engines import service_on, steps_on
from .support.service import Service
from .support.shell import Shell
from .support.steps import Steps

_HERE = Path(__file__).parent
_EACH_ENGINE = {"actions", "cli", "delivery", "faults", "storage", "upkeep", "web", "test_daemon.py"}
_LONG = {"faults", "postgres"}
_SLOW = {"browser", "system"}
_ALONE = {"system"}

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# The delivery thread logs whenever it likes: not into what a command prints, whose streams a test replaces meanwhile.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stdout__))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no setting of the machine that they run on."""
    for name in list(os.environ):
        if name.startswith(PREFIX) or name in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
            monkeypatch.delenv(name)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors, as tests wait for others a third of their time; four at most."""
    return min(4, len(os.sched_getaffinity(0)) + 1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a test of these folders that has a `service` or a `shell` run over each engine, unless it is SQLite's."""
    definition = metafunc.definition
    folders = set(definition.path.relative_to(_HERE).parts)
    if (
        "engine_name" in metafunc.fixturenames
        and folders & _EACH_ENGINE
        and not definition.get_closest_marker("sqlite")
    ):
        tier = pytest.mark.long if definition.get_closest_marker("each_engine") else pytest.mark.slow
        postgres = pytest.param("postgres", marks=[tier, pytest.mark.postgres_engine])
        metafunc.parametrize("engine_name", ["sqlite", postgres], indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the tier of its folder, or as fast."""
    for item in items:
        folders = set(item.path.relative_to(_HERE).parts)
        for name, members in (("slow", _SLOW), ("alone", _ALONE), ("long", _LONG)):
            if members & folders:
                item.add_marker(name)
        if not {"slow", "long"} & {mark.name for mark in item.iter_markers()}:
            item.add_marker("fast")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through all that was imported and collected, again and again."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold a fast test to what it may ask for."""
    needs.is_fast = item.get_closest_marker("fast") is not None


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """In CI a part that is missing is a failure, not a skip."""
    if (
        os.environ.get("CI") == "true"
        and call.excinfo is not None
        and call.excinfo.errisinstance(pytest.skip.Exception)
    ):
        error = AssertionError(f"skipped in CI: {call.excinfo.value}").with_traceback(call.excinfo.tb)
        call.excinfo = pytest.ExceptionInfo.from_exception(error)


@dataclass
class Request:
    """What a receiver was sent."""

    headers: dict[str, str]
    body: bytes
    path: str


@dataclass
class Receiver:
    """A real HTTP server that keeps what it is sent and answers as told."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    status: int = 200

    @property
    def host(self) -> str:
        """The receiver as people are told of it."""
        return self.url.split("/")[2]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(Request(dict(request.headers), body, request.path_qs))
        if self.answer is not None:
            return await self.answer(request)
        return web.Response(status=self.status, text="thanks")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Open a receiver on a free port of loopback."""
    there = Receiver()
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{tail:.*}", there.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}/in"
    yield there
    await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver of the test's own."""
    async with receiving() as there:
        yield there


@pytest.fixture(params=["in the database", "in a file of its own", "in an application's WAL file", "in a DELETE file"])
def outbox_place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path | None]:
    """Every place where an outbox can be; the test runs over all of them."""
    place = str(request.param)
    return place, None if place == "in the database" else tmp_path / "out box #1?%.db"


@pytest.fixture(scope="session")
def engine_name(request: pytest.FixtureRequest) -> str:
    """The engine that keeps the data of `service` and `shell`: `sqlite`, or `postgres`."""
    return getattr(request, "param", "sqlite")


@pytest.fixture
async def service(tmp_path: Path, engine_name: str) -> AsyncIterator[Service]:
    """A daemon on a fresh database, not started yet."""
    with service_on(engine_name, tmp_path) as there:
        yield there
        await there.close()


@pytest.fixture
async def service_anywhere(tmp_path: Path, outbox_place: tuple[str, Path | None]) -> AsyncIterator[Service]:
    """A daemon with its outbox in each place."""
    place, path = outbox_place
    there = Service(tmp_path / "daemon's.db", path)
    if path is not None and "file of its own" not in place:
        there.make_application("WAL" if "WAL" in place else "DELETE")
    yield there
    await there.close()


@pytest.fixture
def shell(tmp_path: Path, engine_name: str) -> Iterator[Shell]:
    """A directory with a configuration and a database, where commands are run."""
    with service_on(engine_name, tmp_path, "log.db") as there:
        there.migrate()
        yield there.shell()


@pytest.fixture
def steps(tmp_path: Path, engine_name: str) -> Iterator[Steps]:
    """A database on which the steps of an event's way are called one by one."""
    made = steps_on(engine_name, tmp_path)
    yield made
    made.close()


@pytest.fixture
async def daemons(tmp_path: Path) -> AsyncIterator[Daemons]:
    """A database in PostgreSQL that daemons share, with none of them yet."""
    there = Daemons(tmp_path)
    there.migrate()
    yield there
    await there.close()
