"""An outbox in an application's database, the daemon and the application being different users: neither keeps the other out."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ..conftest import Receiver
from ..support.service import Service
from .process import COMMAND, DaemonProcess

pytestmark = pytest.mark.sqlite

DAEMON, OTHERS = 61_011, 61_013  # a user with a group of its number, and a group that nobody is in
SHOP, SHOPS = pwd.getpwnam("games")[2:4]  # the application's user, which the system knows, and its group
# It may read what is root's (the tests' own program), and has no other right that its user has not.
LIKE_ITS_USER = ("setpriv", f"--reuid={DAEMON}", f"--regid={DAEMON}", "--inh-caps=-all,+dac_read_search")
READS_ALL = ("--ambient-caps=+dac_read_search", COMMAND)


@pytest.fixture
def apart() -> Iterator[Service]:
    """A service whose outbox is in a database of the shop, in a directory of the shop's group, without its set-group-id bit."""
    if os.geteuid() != 0:
        pytest.skip("other users' rights need root")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for name in ("state", "shop"):
        (folder / name).mkdir()
    service = Service(folder / "state" / "log.db", folder / "shop" / "shop.db")
    service.make_application("WAL")
    service.migrate()
    for path in (folder / "state", service.database):
        os.chown(path, DAEMON, DAEMON)
    give(folder / "shop", SHOP, SHOPS, 0o770)
    give(service.outbox_file, SHOP, SHOPS, 0o660)
    yield service
    shutil.rmtree(folder)


def give(path: Path, uid: int, gid: int, mode: int) -> None:
    os.chown(path, uid, gid)
    path.chmod(mode)


def daemon(service: Service, *groups: int) -> DaemonProcess:
    """The daemon as its user, which is in these groups too."""
    words = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return DaemonProcess(service, command=(*LIKE_ITS_USER, words, *READS_ALL), folder=service.database.parent)


def in_the_shop(service: Service) -> None:
    """Insert as the application does, with its own user's rights."""
    subprocess.run(
        ["sqlite3", "-cmd", ".timeout 10000", service.outbox_file,
         "INSERT INTO orders (item) VALUES ('boots');"
         "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')"],
        user=SHOP, group=SHOPS, extra_groups=(), check=True,
    )  # fmt: skip


def beside(service: Service) -> dict[str, int]:
    """The files that SQLite has made beside the outbox, and the group of each."""
    there = service.outbox_file.parent.glob("shop.db-*")
    return {path.name.removeprefix("shop.db"): path.stat().st_gid for path in there}


async def test_the_application_opens_its_file_while_the_daemon_runs(apart: Service, receiver: Receiver) -> None:
    """The daemon is in the file's group: what it makes beside the file is given to that group."""
    apart.webhook(receiver.url)
    process = daemon(apart, SHOPS)
    process.start()
    try:
        process.until_it_said("started")
        assert beside(apart) == {"-wal": SHOPS, "-shm": SHOPS}
        in_the_shop(apart)
        await apart.until(lambda: apart.log(state="succeeded"))
        assert process.stop() == 0
    finally:
        process.close()
    in_the_shop(apart)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            (DAEMON, OTHERS),
            "would be of another group",
        ),  # its user may open the file, and not give anything to its group
        ((SHOP, DAEMON), "would keep out its owner"),
    ],
    ids=["whose group the daemon is not in", "whose owner is not in its group"],
)
async def test_a_file_that_the_daemon_would_shut_is_refused_before_it_writes(
    apart: Service, receiver: Receiver, file: tuple[int, int], words: str
) -> None:
    """With exit 78 and two commands that help, told by `doctor` too; nothing is left beside it. With them it is served."""
    folder = apart.outbox_file.parent
    give(folder, SHOP, SHOPS, 0o777)
    give(apart.outbox_file, *file, 0o660)
    before = whole(apart.outbox_file)
    process = daemon(apart)
    process.start()
    try:
        code = process.wait()
    finally:
        process.close()
    log_text = process.log.read_text()
    assert code == 78, log_text
    assert words in log_text
    assert f"chgrp --reference={apart.outbox_file} {folder}; chmod g+s {folder}" in log_text
    assert (beside(apart), whole(apart.outbox_file)) == ({}, before)
    config = str(apart.database.parent / "config.toml")
    looked = subprocess.run([*LIKE_ITS_USER, "--clear-groups", *READS_ALL, "doctor", "--json", "--config", config], capture_output=True, text=True, check=False)  # fmt: skip
    checks = {one["check"]: one for one in json.loads(looked.stdout)}
    assert checks["outbox file"]["result"] == "wrong", looked
    assert "chmod g+s" in checks["outbox file"]["words"]
    give(apart.outbox_file, SHOP, SHOPS, 0o660)
    give(folder, SHOP, SHOPS, 0o2770)
    apart.webhook(receiver.url)
    process = daemon(apart, SHOPS)
    process.start()
    try:
        process.until_it_said("started")
        in_the_shop(apart)
        await apart.until(lambda: apart.log(state="succeeded"))
    finally:
        process.close()


def whole(path: Path) -> list[str]:
    """Every row of a file."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as conn:
        return list(conn.iterdump())
