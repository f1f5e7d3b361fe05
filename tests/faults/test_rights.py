"""Files and directories that the daemon may not write or read: exit 78 and a sentence, whichever it is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..support.service import Service
from .process import COMMAND, DaemonProcess

# Root may write everything by these two capabilities; without them it is a user like others.
LIKE_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", COMMAND)


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[Service]:
    """A service that has run before, its database and its outbox in directories of their own."""
    folders = [tmp_path / name for name in ("state", "outbox")]
    for folder in folders:
        folder.mkdir()
    there = Service(folders[0] / "log.db", folders[1] / "outbox.db")
    there.options["admin"] = {"listen": "127.0.0.1:0"}
    await there.start()
    await there.stop()
    yield there
    for folder in folders:
        folder.chmod(0o700)


@pytest.mark.parametrize(
    ("what", "mode", "words"),
    [
        ("state/log.db", 0o440, ("serve",)),
        ("state/log.db", 0o000, ("serve", "--migrate")),
        ("state", 0o555, ("serve",)),
        ("state", 0o000, ("serve", "--migrate")),
        ("outbox/outbox.db", 0o440, ("serve", "--migrate")),
        ("outbox/outbox.db", 0o000, ("serve",)),
        ("outbox", 0o555, ("serve", "--migrate")),
        ("outbox", 0o000, ("serve",)),
    ],
)
def test_what_may_not_be_written_is_said_and_not_tried_over_and_over(
    apart: Service, tmp_path: Path, what: str, mode: int, words: tuple[str, ...]
) -> None:
    """The sentence names the file; with the rights back the daemon starts."""
    daemon = DaemonProcess(
        apart, command=LIKE_OTHERS if os.geteuid() == 0 else (COMMAND,), words=words, folder=tmp_path
    )
    before = (tmp_path / what).stat().st_mode
    (tmp_path / what).chmod(mode)
    daemon.start()
    try:
        code = daemon.wait()
    finally:
        daemon.close()
    (tmp_path / what).chmod(before & 0o777)
    log_text = daemon.log.read_text()
    assert code == 78, log_text
    assert "Traceback" not in log_text
    assert str(tmp_path / what.split("/")[0]) in log_text, log_text
    daemon.start()
    try:
        daemon.until_it_said("started")
        assert daemon.stop() == 0
    finally:
        daemon.close()
