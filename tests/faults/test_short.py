"""We run short ourselves, of files or threads: no delivery pays for it, it is said once, and it goes on by itself."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, web

from ..conftest import Receiver
from ..support.service import Service
from .process import COMMAND, DaemonProcess

SOON = ["0s", "1s", "1s"]


@asynccontextmanager
async def everywhere(wait: float) -> AsyncIterator[int]:
    """A receiver on every address of 127.0.0.0/8, which answers after a while and keeps connections open; yields its port."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(wait)
        return web.Response()

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0, backlog=1024).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


@pytest.fixture
def daemon(service: Service, free_port: int) -> Iterator[DaemonProcess]:
    service.options["admin"] = {"listen": f"127.0.0.1:{free_port}"}
    service.options["delivery"] = {"retry_schedule": SOON, "timeout": "60s"}
    service.migrate()
    there = DaemonProcess(service)
    yield there
    there.close()


def limit_files(most: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def has_log(service: Service, state: str, count: int) -> bool:
    return len(service.log(state=state, limit=2000)) == count


async def reason(port: int) -> str:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as answer:
        return str((await answer.json()).get("reason", ""))


def times_said(daemon: DaemonProcess, words: str) -> int:
    return sum(words in line for line in daemon.log.read_text().splitlines())


@pytest.mark.parametrize(("files", "receivers", "wait"), [(64, 60, 0.1), (256, 300, 0.0)])
async def test_a_low_limit_of_open_files_makes_no_delivery_fail(
    service: Service, daemon: DaemonProcess, files: int, receivers: int, wait: float
) -> None:
    """Fewer requests are made at a time and fewer connections kept: each delivery arrives by its first attempt."""
    async with everywhere(wait) as port:
        for number in range(receivers):
            service.webhook(f"http://127.0.{number // 250}.{number % 250 + 1}:{port}/", project=f"proj_{number // 100}")
        daemon.start(preexec_fn=partial(limit_files, files))
        daemon.until_it_said("allows fewer requests at a time")
        for number in range(2):
            for project in range(-(-receivers // 100)):
                service.insert({"n": number}, project=f"proj_{project}")
        await service.until(partial(has_log, service, "succeeded", 2 * receivers))
        assert daemon.stop() == 0
    assert {(row["attempts"], row["tries"]) for row in service.log(limit=2000)} == {(1, 1)}


@pytest.mark.slow
async def test_files_that_run_out_later_cost_no_delivery_a_try(
    service: Service, receiver: Receiver, daemon: DaemonProcess, free_port: int
) -> None:
    """Attempts are interrupted, `/readyz` says why, the log once; with files again all arrive by a first try that counts."""
    for number in range(2):
        service.webhook(receiver.url, project=f"proj_{number}")
    daemon.start()
    daemon.until_it_said('"started"')
    hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)[1]
    # A connection that is kept for the second look, while there are files for it.
    async with ClientSession(connector=TCPConnector(keepalive_timeout=300)) as session:
        url = f"http://127.0.0.1:{free_port}/readyz"
        async with session.get(url) as answer:
            assert answer.status == 200
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (10, hard))
        for number in range(2):
            service.insert(project=f"proj_{number}")
        # more than the free interruptions
        await service.until(lambda: max((row["attempts"] for row in service.log(limit=100)), default=0) > 3)
        async with session.get(url) as answer:
            assert (answer.status, (await answer.json())["reason"]) == (503, "the daemon has too many files open")
        assert {row["tries"] for row in service.log(limit=100)} == {0}
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (hard, hard))
        await service.until(partial(has_log, service, "succeeded", 2))
    assert {row["tries"] for row in service.log(limit=100)} == {1}
    assert times_said(daemon, '"trouble of our own"') == 1
    assert daemon.stop() == 0


def test_fewer_files_than_the_daemon_itself_needs_are_refused(daemon: DaemonProcess) -> None:
    """Exit 78, with the number and how to raise it."""
    daemon.start(preexec_fn=partial(limit_files, 63))
    assert daemon.wait() == 78
    assert "Only 63 files may be open at a time; at least 64 are needed: LimitNOFILE=" in daemon.log.read_text()


def doctor(daemon: DaemonProcess) -> dict[str, tuple[str, str]]:
    words = [COMMAND, "doctor", "--json", "--config", str(daemon._config)]
    printed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return {found["check"]: (found["result"], found["words"]) for found in json.loads(printed)}


@pytest.mark.sqlite
def test_doctor_says_what_the_limits_of_the_running_daemon_allow(daemon: DaemonProcess) -> None:
    """Not those of the shell that it runs in."""
    daemon.start(preexec_fn=partial(limit_files, 64))
    daemon.until_it_said('"started"')
    found = doctor(daemon)
    assert found["daemon"] == ("ok", "It runs and delivers.")
    result, words = found["limits"]
    assert result == "warning"
    assert words.startswith("The daemon may have 64 files open: 8 requests at a time, 8 idle connections.")
    assert "delivery.concurrency is 256; raise LimitNOFILE=" in words
    assert daemon.stop() == 0


@pytest.mark.sqlite
def test_doctor_believes_the_daemon_s_own_word_and_its_silence(daemon: DaemonProcess) -> None:
    """That a process holds the lock is not enough: it says itself whether it delivers."""
    daemon.start()
    daemon.until_it_said('"started"')
    hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)[1]
    os.kill(daemon.pid, signal.SIGSTOP)
    assert "did not answer within 2 s" in doctor(daemon)["daemon"][1]
    os.kill(daemon.pid, signal.SIGCONT)
    spare = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) + 4  # for the probe alone
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (spare, hard))
    assert doctor(daemon)["limits"] == (
        "wrong",
        f"Only {spare} files may be open at a time; at least 64 are needed: LimitNOFILE= in the unit, or `ulimit -Hn`.",
    )
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (hard, hard))
    assert doctor(daemon)["limits"][0] == "ok"
    assert daemon.stop() == 0


async def test_doctor_repeats_why_the_daemon_is_not_ready(
    service: Service, receiver: Receiver, daemon: DaemonProcess, free_port: int
) -> None:
    """In the words of `/readyz`."""
    asked = asyncio.Event()

    async def answer_once_asked(_: web.Request) -> web.Response:
        await asked.wait()  # an answer would be the end of it
        return web.Response()

    receiver.answer = answer_once_asked
    service.webhook(receiver.url)
    daemon.start()
    daemon.until_it_said('"started"')
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{free_port}/healthz"):
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (10, before[1]))
        service.insert()
        await service.until(lambda: '"trouble of our own"' in daemon.log.read_text())
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
    found = await asyncio.to_thread(doctor, daemon)
    assert found["daemon"] == ("wrong", "It runs, but it is not ready: the daemon has too many files open.")
    asked.set()
    await service.until(partial(has_log, service, "succeeded", 1))
    assert daemon.stop() == 0


@pytest.fixture
def its_threads(tmp_path: Path, daemon: DaemonProcess) -> Path:
    """The file that says how many threads the daemon's process may have."""
    if shutil.which("gcc") is None:
        pytest.skip("the shim is compiled by gcc")
    source, made, file = Path(__file__).with_name("threads.c"), tmp_path / "threads.so", tmp_path / "threads"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, source, "-ldl"], check=True)
    daemon._environment |= {"LD_PRELOAD": str(made), "THREADS_FILE": str(file)}
    return file


@pytest.mark.parametrize("most", [1, 2, 3, 5, 10])
def test_without_the_threads_that_it_needs_the_daemon_does_not_start(
    daemon: DaemonProcess, its_threads: Path, most: int
) -> None:
    """Exit 1 and a sentence with what to raise: no traceback, no abort."""
    its_threads.write_text(str(most))
    daemon.start()
    assert daemon.wait() == 1
    said = daemon.log.read_text()
    assert "The daemon could not start its threads" in said
    assert "ulimit -u" in said
    assert "Traceback" not in said


@pytest.mark.sqlite
async def test_with_the_threads_of_the_start_alone_names_are_looked_up(
    service: Service, receiver: Receiver, daemon: DaemonProcess, its_threads: Path
) -> None:
    """Ten: deliveries arrive, by URLs with a name too."""
    service.webhook(receiver.url.replace("127.0.0.1", "localhost"))
    its_threads.write_text("11")
    daemon.start()
    service.insert(*({"n": number} for number in range(20)))
    await service.until(partial(has_log, service, "succeeded", 20))
    assert {row["attempts"] for row in service.log()} == {1}
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC])
@pytest.mark.sqlite
async def test_without_inotify_commits_are_noticed_by_the_poll_interval(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The system's limits of instances and watches belong to all programs of a user."""

    refused: list[Any] = []

    def refuse(_: object, path: object, *__: Any) -> None:
        refused.append(path)
        raise OSError(number, "no more")

    monkeypatch.setattr("asyncinotify.Inotify.add_watch", refuse)
    service.options["outbox"] = {"poll_interval": "50ms"}
    daemon = await service.start()
    service.webhook(receiver.url)
    for count in (1, 2, 3):  # the loop rests between them
        service.insert()
        await service.until(partial(has_log, service, "succeeded", count))
    assert refused == [service.database.parent]
    assert daemon.not_ready() is None
    assert len(receiver.requests) == 3
