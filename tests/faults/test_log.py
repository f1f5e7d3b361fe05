"""The log cannot be written, or nobody reads it: deliveries go on, and the daemon ends when it is asked to."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import pty
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import ClientSession

from almirant_webhooks.model import Refused
from almirant_webhooks.ops import logs
from almirant_webhooks.ops.tasks import Tasks

from ..conftest import Receiver
from ..support.service import Service
from .process import DaemonProcess

DYING = str(Path(__file__).with_name("dying.py"))
LOST = "almirant_webhooks_log_lines_lost_total"


@pytest.fixture
def daemon(service: Service, free_port: int) -> Iterator[DaemonProcess]:
    service.options["admin"] = {"listen": f"127.0.0.1:{free_port}"}
    service.options["delivery"] = {"timeout": "1s"}
    service.options["log"] = {"level": "debug"}
    service.migrate()
    there = DaemonProcess(service)
    yield there
    there.close()


def closed_pipe() -> int:
    """A pipe whose reader has gone, as of `serve 2>&1 | head -n 1`."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def gone_terminal() -> int:
    """A terminal that was closed, or whose connection broke."""
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


async def metric(port: int, name: str) -> float:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


@pytest.mark.parametrize("broken", [closed_pipe, full_disk, gone_terminal], ids=lambda made: str(made.__name__))
async def test_a_log_that_cannot_be_written_stops_no_delivery(
    service: Service, receiver: Receiver, daemon: DaemonProcess, free_port: int, broken: Callable[[], int]
) -> None:
    """Each attempt fails and would be a line: all are made and recorded, the lines are counted, a stop ends with 0."""
    receiver.status = 500
    service.webhook(receiver.url)
    out = broken()
    daemon.start(stderr=out)
    os.close(out)
    for number in range(3):  # one after the other, as the first line that fails must not be the last of anything
        service.insert({"n": number})
        await service.until(partial(has_failed, service, number + 1))
    assert await metric(free_port, LOST) > 0
    assert await metric(free_port, "almirant_webhooks_ready") == 1
    assert daemon.stop() == 0


def has_succeeded(service: Service, count: int) -> bool:
    return len(service.log(state="succeeded", limit=100)) == count


def has_failed(service: Service, count: int) -> bool:
    return [row["status"] for row in service.log()].count("500") == count


@pytest.fixture
def stalled() -> Iterator[tuple[int, int]]:
    """A pipe that holds a page, and that nobody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


async def test_a_log_whose_reader_stalls_stops_neither_deliveries_nor_the_daemon_s_end(
    service: Service, receiver: Receiver, daemon: DaemonProcess, stalled: tuple[int, int]
) -> None:
    """The pipe is full after some lines; the rest waits in memory, and the end of the process does not wait for it."""
    service.webhook(receiver.url)
    daemon.start(stderr=stalled[1])
    for number in range(5):
        service.insert(*({"n": number, "m": more} for more in range(10)))
        await service.until(partial(has_succeeded, service, 10 * number + 10))
    assert daemon.stop() == 0


@pytest.mark.parametrize("how", ["raises", "returns", "is-cancelled"])
@pytest.mark.parametrize("written", [True, False], ids=["to a file", "to a pipe that nobody reads"])
def test_a_task_that_ends_by_itself_ends_the_daemon_whatever_becomes_of_the_log(
    service: Service, stalled: tuple[int, int], how: str, written: bool
) -> None:
    """Exit 1, which systemd restarts; the log says which task it was."""
    service.migrate()
    os.set_blocking(stalled[1], False)
    while not written:
        try:
            os.write(stalled[1], b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(stalled[1], True)
    daemon = DaemonProcess(service, command=(sys.executable, DYING, how))
    daemon.start(**({} if written else {"stderr": stalled[1]}))
    try:
        assert daemon.wait() == 1
    finally:
        daemon.close()
    said = daemon.log.read_text()
    assert "Traceback (most recent call last):\n" not in said
    if written:
        assert [json.loads(line)["task"] for line in said.splitlines() if "task died" in line] == ["observe"]


async def test_a_task_s_end_is_met_before_it_is_said() -> None:
    """What is said may fail; by then the stop is on its way, and nothing reports that all is well."""
    order: list[object] = []

    async def fail() -> None:
        raise ValueError("broken")

    tasks = Tasks(lambda: order.append(("ended", tasks.why_not_ready())))

    def say(*_: object) -> dict[str, Any]:
        order.append("said")
        return {}

    with structlog.testing.capture_logs(processors=[say]):
        tasks.run("a part", fail())
        while not order:
            await asyncio.sleep(0)
    assert order == [("ended", "the task 'a part' has died"), "said"]
    assert isinstance(tasks.fault, ValueError)


async def test_a_daemon_without_one_of_its_tasks_is_not_ready(service: Service) -> None:
    """Also when it was cancelled by whatever mistake, which is no exception of the task's."""
    daemon = await service.start()
    next(task for task in asyncio.all_tasks() if task.get_name() == "prune").cancel()
    await daemon.wait()
    assert daemon.not_ready() == "the task 'prune' has died"
    service.daemon = None
    with pytest.raises(RuntimeError, match="cancelled"):
        await daemon.stop()


class Deadly:
    """What a thread that takes it ends of."""

    def __iter__(self) -> Iterator[object]:
        raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_daemon_whose_database_s_thread_has_died_ends(service: Service) -> None:
    """Calls to it would wait for ever, and the loop would beat on."""
    await service.serve()
    daemon, service.daemon = service.daemon, None
    assert daemon is not None
    daemon.storage.workers[-1]._calls.put(Deadly())  # type: ignore[attr-defined]
    await daemon.wait()
    with pytest.raises((RuntimeError, ValueError)):
        await daemon.stop()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_each_signal_that_asks_for_a_stop_has_its_line(daemon: DaemonProcess, number: signal.Signals) -> None:
    """SIGHUP too, which comes when a terminal is closed: it ends in order, and the log says why."""
    daemon.start(preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # the tests may run under nohup
    daemon.until_it_said('"started"')
    assert daemon.stop(number) == 0
    said = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    assert [line["by"] for line in said if line["event"] == "asked to stop"] == [number.name]
    assert said[-1]["event"] == "stopped"


def test_what_nohup_keeps_away_stays_away(service: Service) -> None:
    """SIGHUP is ignored by a daemon that was started that way."""
    service.migrate()
    daemon = DaemonProcess(service, command=("nohup", *DaemonProcess(service)._command), words=())
    daemon.start()
    try:
        daemon.until_it_said('"started"')
        os.kill(daemon.pid, signal.SIGHUP)
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert "SIGHUP" not in daemon.log.read_text()


def close_all(numbers: tuple[int, ...]) -> None:
    for number in numbers:
        os.close(number)


@pytest.mark.parametrize("closed", [(0,), (2,), (0, 1, 2)], ids=str)
async def test_streams_that_are_closed_at_the_start_are_no_files_of_ours(
    service: Service, receiver: Receiver, daemon: DaemonProcess, closed: tuple[int, ...]
) -> None:
    """`<&- >&- 2>&-`: neither the loop nor the database takes their numbers, and the end is a clean one."""
    service.webhook(receiver.url)
    daemon.start(preexec_fn=lambda: close_all(closed))
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    assert {os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in closed} == {"/dev/null"}
    assert daemon.stop() == 0


def test_lines_beyond_what_may_wait_are_lost_and_said_once_it_works_again(
    stalled: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were taken come whole and in order; between them is said how many did not."""
    monkeypatch.setattr(logs, "MOST_WAITING", 20_000)
    monkeypatch.setattr(logs, "losses", logs.Losses())
    reader, writer = stalled
    stream = logs.Background(writer)
    before = structlog.get_config()
    logs.configure("info", "json", stream)
    try:
        for number in range(2000):
            structlog.get_logger().info("a line", number=number)
        lost = logs.losses.total
        assert lost > 1000
        said: list[dict[str, Any]] = []
        with os.fdopen(os.dup(reader), encoding="utf-8") as lines:
            while sum(line["lines"] for line in said if "lines" in line) < lost:
                said.append(json.loads(lines.readline()))
    finally:
        structlog.configure(**before)
    taken = [line["number"] for line in said if "number" in line]
    assert taken == sorted(taken)
    assert len(taken) == 2000 - lost
    assert logs.losses.total == lost


def test_a_line_after_one_that_was_cut_begins_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up takes the first bytes of a line: the next one does not begin in its middle."""
    file = tmp_path / "log"
    true_write, room = os.write, [5, 0]

    def write(descriptor: int, data: bytes) -> int:
        if not room:
            return true_write(descriptor, data)
        if size := room.pop(0):
            return true_write(descriptor, data[:size])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(logs, "losses", logs.Losses())
    with file.open("wb") as out:
        stream = logs.Background(out.fileno())
        stream.write("cut in the middle\n")
        assert stream.drain(10)
        stream.write("whole\n")
        assert stream.drain(10)
    assert file.read_text().startswith("cut i\nwhole\n")
    assert logs.losses.total == 1


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_no_text_is_one_that_cannot_be_written(stalled: tuple[int, int], encoding: str) -> None:
    """Half a surrogate pair, and letters that a terminal's charset lacks, are written as escapes; JSON stays JSON."""
    before = structlog.get_config()
    stream = logs.Background(stalled[1], encoding)
    logs.configure("info", "json", stream)
    try:
        structlog.get_logger().info("failed", cause="čas \ud800 vypršel")
    finally:
        structlog.configure(**before)
    assert stream.drain(10)
    line = os.read(stalled[0], 4096).decode(encoding)
    assert json.loads(line)["event"] == "failed"


def test_fields_that_cannot_be_written_leave_a_line_without_them(stalled: tuple[int, int]) -> None:
    """A value whose own code fails is nobody's error but its own."""

    class Odd:
        def __repr__(self) -> str:
            raise ValueError("never")

    before = structlog.get_config()
    stream = logs.Background(stalled[1])
    logs.configure("info", "json", stream)
    try:
        structlog.get_logger().warning("attempt failed", cause=Odd())
    finally:
        structlog.configure(**before)
    assert stream.drain(10)
    line = json.loads(os.read(stalled[0], 4096))
    assert (line["event"], line["level"], line["unwritable_fields"]) == ("attempt failed", "warning", "ValueError")


def test_without_a_thread_for_the_log_it_is_said_and_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Refused`, with what to do."""
    monkeypatch.setattr(logs, "Background", _no_thread)
    with pytest.raises(Refused, match="ulimit -u"):
        logs.in_background()


def _no_thread(*_: object) -> None:
    raise RuntimeError("can't start new thread")
