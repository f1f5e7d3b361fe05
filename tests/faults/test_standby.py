"""The machine is lost under load: Litestream's copy is restored on another one, as docs/standby.md says, and goes on."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..support import needs
from ..support.service import Service
from .process import COMMAND, DaemonProcess, ProducerProcess, RememberingReceiver, say_figures, whole

HERE = Path(__file__).parents[2]
PROJECTS = 4
WEBHOOKS = 2  # in each project
ENOUGH = 100  # requests that are answered before the machine is lost, and then events that are not
SEND = ("event", "send", "--project", "proj_0", "--type", "lead.created")
Places = set[tuple[str, int]]  # an event, and which of its project's webhooks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.sqlite]


@dataclass
class Loss:
    """What is known of a machine that is gone."""

    told: set[str]  # events that producers were told are committed
    copied: set[str]  # of these, what a copy was seen to have
    key: bytes
    older: Path  # a copy of the database that is older than the outbox's; only with an outbox apart


@pytest.fixture
async def receiver() -> AsyncIterator[RememberingReceiver]:
    there = RememberingReceiver()
    await there.open()
    yield there
    await there.close()


class Machine:
    """A machine's disk: the service on it, and Litestream, which copies to a folder that outlives it."""

    def __init__(self, folder: Path, replica: Path, *, own_outbox: bool) -> None:
        folder.mkdir()
        self.replica = replica
        self.litestream = needs.program("litestream")
        self.service = Service(folder / "log.db", folder / "outbox.db" if own_outbox else None)
        self.service.options["delivery"] = {"timeout": "60s", "retry_schedule": ["0s"] + ["1s"] * 29}
        self.service.options["admin"] = {"listen": ""}
        self.daemon = DaemonProcess(self.service)
        self.config = folder / "litestream.yml"
        text = (HERE / "deploy" / "litestream.yml").read_text()
        for path, here in {
            "/var/lib/almirant-webhooks/almirant-webhooks.db": self.service.database,
            "/var/lib/almirant-outbox/outbox.db": self.service.outbox,
            "/var/lib/almirant-webhooks-litestream": folder / "litestream",
            "/srv/replica": replica,
        }.items():
            assert path in text
            text = text.replace(path, str(here))
        if not own_outbox:  # as the file says
            text = text[: text.index("\n  # Leave this one out")] + text[text.index("\n# Content") :]
        self.config.write_text(text)

    @contextmanager
    def replicating(self, ends_by: signal.Signals) -> Iterator[None]:
        """Litestream, as its unit runs it."""
        with (self.config.parent / "litestream.log").open("ab") as log:
            process = subprocess.Popen([self.litestream, "replicate", "-config", self.config], stdout=log, stderr=log)
            try:
                yield
                assert process.poll() is None
            finally:
                process.send_signal(ends_by)
                process.wait(timeout=60)

    def restore(self, to: Path, path: Path) -> bool:
        """Restore the copy of a file of this machine; return whether there was one."""
        words: list[str | Path] = [
            self.litestream,
            "restore",
            "-config",
            self.config,
            "-integrity-check",
            "full",
            "-o",
            to,
            path,
        ]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "no matching backup files" in done.stderr + done.stdout, done.stderr
        return done.returncode == 0

    def command(self, *words: str) -> tuple[int, str]:
        """Run a command of ours on its configuration; return its exit code and what it said."""
        config = self.config.with_name("config.toml")
        done = subprocess.run([COMMAND, *words, "--config", config], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


def events(path: Path) -> set[str]:
    """The ids of all rows of an outbox."""
    with closing(sqlite3.connect(path)) as conn:
        return {row[0] for row in conn.execute("SELECT event_id FROM outbox")}


def batch(path: Path, table: str) -> int:
    """The number of the last batch that a file knows."""
    with closing(sqlite3.connect(path)) as conn:
        return int(conn.execute(f"SELECT batch FROM {table}").fetchone()[0])


def delivered(database: Path) -> Places:
    """What a database knows as delivered."""
    question = (
        "SELECT event_id, url FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE d.state = 'succeeded'"
    )
    with closing(sqlite3.connect(database)) as conn:
        return {(event, place_of(url)) for event, url in conn.execute(question)}


def arrived(receiver: RememberingReceiver) -> Places:
    """What a receiver was sent."""
    times = [time for times in list(receiver.arrivals.values()) for time in times]
    return {(json.loads(body)["id"], place_of(path)) for _, body, path in times}


def place_of(url: str) -> int:
    """Which of its project's webhooks a URL belongs to."""
    return int(url.rpartition("/")[2])


def bodies(*receivers: RememberingReceiver) -> dict[str, set[bytes]]:
    """With which bodies each delivery has arrived."""
    there: dict[str, set[bytes]] = {}
    for receiver in receivers:
        for delivery, times in receiver.arrivals.items():
            there.setdefault(delivery, set()).update(body for _, body, _ in times)
    return there


def hold_that_each_producer_lost_at_most_its_end(restored: set[str], told: set[str]) -> None:
    """What is there is of one moment: nothing is missing in the middle."""
    missing, names = told - restored, {event.partition(":")[0] for event in told}
    for name in names:
        first = min((int(event.split(":")[1]) for event in missing if event.startswith(f"{name}:")), default=None)
        assert first is None or max(int(e.split(":")[1]) for e in restored if e.startswith(f"{name}:")) < first


async def until(condition: Callable[[], bool], daemon: DaemonProcess) -> None:
    """Wait until a condition holds; it is asked in a thread."""
    while not await asyncio.to_thread(condition):
        assert daemon.died() is None, daemon.log.read_text()[-4000:]
        await asyncio.sleep(0.1)


async def lose(machine: Machine, receiver: RememberingReceiver, probe: Path) -> Loss:
    """Fill a machine, its receiver answering at first and then no more, so that the copy has both; take its disk away."""
    service = machine.service
    service.migrate()
    for project in range(PROJECTS):
        for place in range(WEBHOOKS):
            service.webhook(f"{receiver.url}/{place}", project=f"proj_{project}")
    producers = [ProducerProcess(service, name, PROJECTS) for name in ("left", "right")]
    older = probe.with_name("older.db")

    def told() -> set[str]:
        return {event for producer in producers for event in producer.acknowledged()}

    def is_copied(wanted: set[str]) -> bool:
        probe.unlink(missing_ok=True)
        return machine.restore(probe, service.outbox_file) and wanted <= events(probe)

    def outbox_is_newer() -> bool:
        return is_copied(set()) and batch(probe, "outbox_meta") > batch(older, "database_meta")

    try:
        with machine.replicating(ends_by=signal.SIGKILL):
            machine.daemon.start()
            for producer in producers:
                producer.start()
            await until(lambda: receiver.count > ENOUGH, machine.daemon)
            receiver.wait = 3600.0
            answered = len(told())
            await until(lambda: len(told()) > answered + ENOUGH, machine.daemon)
            early = told()
            await until(lambda: is_copied(early), machine.daemon)
            if service.outbox is not None:
                await until(lambda: machine.restore(older, service.database), machine.daemon)
                await until(outbox_is_newer, machine.daemon)
            machine.daemon.kill()
            for producer in producers:
                producer.kill()
    finally:
        machine.daemon.close()
        for producer in producers:
            producer.close()
    loss = Loss(told(), early, service.database.with_name("log.db.seal").read_bytes(), older)
    shutil.move(service.database.parent, probe.with_name("gone"))
    machine.config.parent.mkdir()
    shutil.copy(probe.with_name("gone") / machine.config.name, machine.config)  # this file one has elsewhere
    return loss


def restore(lost: Machine, loss: Loss, new: Machine) -> None:
    """Restore both files; of the database, where it is apart, a copy that is older than the outbox's: the worse of the two orders."""
    if new.service.outbox is None:
        assert lost.restore(new.service.database, lost.service.database)
    else:
        assert lost.restore(new.service.outbox, lost.service.outbox_file)
        shutil.copy(loss.older, new.service.database)


def refuse_until_the_drill_is_done(new: Machine, key: bytes) -> None:
    """Without the key it ends with 78, and with an older database than its outbox too, until that is taken over."""
    sealed = new.service.database.with_name("log.db.seal")
    new.daemon.start()
    assert new.daemon.wait() == 78
    assert sealed.name in new.daemon.log.read_text()
    sealed.touch(0o600)
    sealed.write_bytes(key)
    if new.service.outbox is not None:
        new.daemon.start()
        assert new.daemon.wait() == 78
        assert "--adopt-outbox" in new.daemon.log.read_text()
    code, said = new.command("migrate", "--adopt-outbox", "--since", "1h")
    assert code == 0, said


@pytest.mark.parametrize("own_outbox", [False, True], ids=["in the database", "in a file of its own"])
async def test_a_lost_machine_is_replaced_from_the_copy(tmp_path: Path, own_outbox: bool) -> None:
    """All that had been copied arrives; what had not is the end of what each producer wrote, and nothing in between."""
    lost = Machine(tmp_path / "lost", tmp_path / "replica", own_outbox=own_outbox)
    before, after = RememberingReceiver(), RememberingReceiver()
    await before.open()
    try:
        loss = await lose(lost, before, tmp_path / "probe.db")
    finally:
        await before.close()
    new = Machine(tmp_path / "new", tmp_path / "second replica", own_outbox=own_outbox)
    begin = time.monotonic()
    restore(lost, loss, new)
    restored = time.monotonic() - begin
    there, done = events(new.service.outbox_file), delivered(new.service.database)
    assert loss.copied <= there
    hold_that_each_producer_lost_at_most_its_end(there, loss.told)
    refuse_until_the_drill_is_done(new, loss.key)

    owed = {(event, place) for event in there | {"after"} for place in range(WEBHOOKS)} - done
    assert done
    assert len(owed) > ENOUGH
    await after.open(before.port)
    try:
        with new.replicating(ends_by=signal.SIGTERM):
            new.daemon.start()
            code, said = new.command(*SEND, "--data", "{}", "--id", "after")
            assert code == 0, said
            await until(lambda: owed <= arrived(after), new.daemon)
            # One that is ended before its first copy makes none.
            copies = tmp_path / "second replica"
            await until(lambda: any(path.is_file() for path in copies.rglob("*")), new.daemon)
            assert new.daemon.stop() == 0
    finally:
        new.daemon.close()
        await after.close()
    assert arrived(after) == owed
    assert all(len(each) == 1 for each in bodies(before, after).values())
    assert whole(new.service.database) == whole(new.service.outbox_file) == "ok"
    again = tmp_path / "again.db"
    assert new.restore(again, new.service.outbox_file)
    assert there | {"after"} <= events(again)
    first = min(moment for times in after.arrivals.values() for moment, _, _ in times) - begin
    say_figures(
        "standby", own_outbox=own_outbox, told=len(loss.told), lost=len(loss.told - there), owed=len(owed),
        restored_s=round(restored, 2), first_request_s=round(first, 2),
    )  # fmt: skip


@pytest.mark.parametrize("own_outbox", [False, True], ids=["in the database", "in a file of its own"])
async def test_what_is_erased_leaves_the_files_once_litestream_stands_still(
    tmp_path: Path, receiver: RememberingReceiver, own_outbox: bool
) -> None:
    """Litestream reads the file all the time, so the WAL cannot be emptied; the command waits, and ends when it has gone.

    Its own tables make no application's file of an outbox.
    """
    machine = Machine(tmp_path / "one", tmp_path / "replica", own_outbox=own_outbox)
    service = machine.service
    service.migrate()
    service.webhook(f"{receiver.url}/0", project="proj_0")
    machine.daemon.start()
    try:
        with machine.replicating(ends_by=signal.SIGTERM):
            assert machine.command(*SEND, "--data", json.dumps({"name": "Ada Lovelace"}))[0] == 0
            probe = tmp_path / "probe.db"
            await until(lambda: receiver.count == 1 and machine.restore(probe, service.database), machine.daemon)
            words = [COMMAND, "event", "erase", "--search", "Ada Lovelace", "--yes"]
            erasing = subprocess.Popen(
                [*words, "--config", machine.config.with_name("config.toml")], stderr=subprocess.PIPE, text=True
            )
            assert erasing.stderr is not None
            said = await asyncio.to_thread(erasing.stderr.readline)
            assert "reader of the database keeps the rest in the WAL" in said
            assert erasing.poll() is None
        await asyncio.to_thread(erasing.communicate)
        assert erasing.returncode == 0
        await until(lambda: "what was erased is gone" in machine.daemon.log.read_text(), machine.daemon)
        files = [file for file in (tmp_path / "one").iterdir() if ".db" in file.name and file.is_file()]
        assert {file.name for file in files} >= {"log.db", "log.db-wal"}
        assert [file.name for file in files if b"Ada Lovelace" in file.read_bytes()] == []
        assert machine.daemon.stop() == 0
    finally:
        machine.daemon.close()
