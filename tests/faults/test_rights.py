"""Files and directories that the daemon may not write or read: exit 78 and a sentence, whichever it is."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..support import needs
from ..support.service import Service
from .process import COMMAND, DaemonProcess

pytestmark = pytest.mark.sqlite

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
        pytest.param("state/log.db", 0o000, ("serve", "--migrate"), marks=pytest.mark.slow),
        ("state", 0o555, ("serve",)),
        pytest.param("state", 0o000, ("serve", "--migrate"), marks=pytest.mark.slow),
        ("outbox/outbox.db", 0o440, ("serve", "--migrate")),
        pytest.param("outbox/outbox.db", 0o000, ("serve",), marks=pytest.mark.slow),
        ("outbox", 0o555, ("serve", "--migrate")),
        pytest.param("outbox", 0o000, ("serve",), marks=pytest.mark.slow),
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


# The command is run on a copy of root's first: then all of Python is loaded that it needs, which another user may not read.
AS_ROOT = """
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from almirant_webhooks.cli import main
copy, config, *words = sys.argv[1:]
sys.argv = ["almirant-webhooks", *words, "--config", copy]
with suppress(SystemExit), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
    main()
sys.argv[-1] = config
main()
"""
OF_THE_SERVICE = 61_011


def as_root(folder: Path, *words: str, code: int = 0) -> str:
    """Run a command as root, which becomes the service's user; return what it printed."""
    shutil.rmtree(folder / "copy", ignore_errors=True)
    shutil.copytree(folder / "state", folder / "copy")
    (folder / "copy.toml").write_text((folder / "config.toml").read_text().replace("/state/", "/copy/"))
    done = subprocess.run(
        [sys.executable, "-c", AS_ROOT, str(folder / "copy.toml"), str(folder / "config.toml"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow  # processes that load everything
def test_a_key_file_of_root_s_opens_what_is_sealed_for_commands_that_root_runs() -> None:
    """It is read before the command becomes the service's user, who may not read it; what is wrong with it is said."""
    needs.root("a key file of root's")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        keys, state = folder / "keys", folder / "state"
        keys.mkdir(mode=0o700)
        state.mkdir()
        key = keys / "seal"
        key.write_text(f"k1 {base64.b64encode(bytes(range(32))).decode()}\n")
        key.chmod(0o600)
        (folder / "config.toml").write_text(
            f'[database]\npath = "{state}/log.db"\n[secrets]\nkey_file = "{key}"\n[admin]\nlisten = ""\n'
        )
        os.chown(state, OF_THE_SERVICE, OF_THE_SERVICE)
        as_root(folder, "migrate")
        made = as_root(
            folder, "webhook", "create", "--project", "p", "--url", "https://example.com/", "--event", "*", "--json"
        )
        webhook = json.loads(made)
        assert webhook["secret"] in as_root(folder, "webhook", "show", webhook["id"], "--secret")
        assert f"the key in {key} opens them" in as_root(folder, "doctor", "--json", code=1)
        assert "The last key" in as_root(folder, "secrets", "rotate-key", code=1)
        with key.open("a") as lines:
            lines.write(f"k2 {base64.b64encode(bytes(32)).decode()}\n")
        assert "sealed with the key k2" in as_root(folder, "secrets", "rotate-key")
        assert (state / "log.db").stat().st_uid == OF_THE_SERVICE
        key.chmod(0o644)
        assert f"chmod 0600 {key}" in as_root(folder, "webhook", "show", webhook["id"], "--secret", code=78)
