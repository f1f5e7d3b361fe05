"""The unit: right by systemd's own judgement, and the daemon's side of its protocol."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

import pytest

from almirant_webhooks.ops import systemd

from ..support import needs

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "almirant-webhooks.service"


@pytest.fixture
def analyze() -> str:
    return needs.program("systemd-analyze")


@pytest.mark.long
@pytest.mark.parametrize("unit", [UNIT, FOLDER.parent / "deploy" / "almirant-webhooks-litestream.service"])
def test_the_unit_is_clean(analyze: str, tmp_path: Path, unit: Path) -> None:
    """`systemd-analyze verify` says nothing, once the command that it names is there."""
    text = unit.read_text()
    for command in ("/opt/almirant-webhooks/bin/almirant-webhooks", "/usr/local/bin/litestream"):
        text = text.replace(command, "/bin/true")
    (tmp_path / unit.name).write_text(text)
    done = subprocess.run([analyze, "verify", "--man=no", str(tmp_path / unit.name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.long
def test_the_unit_is_hardened(analyze: str) -> None:
    """`systemd-analyze security` gives 1.1 or better."""
    command = [analyze, "security", "--offline=true", "--threshold=11", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_unit_does_not_loop_on_what_a_restart_cannot_mend() -> None:
    """Exit 78 is not restarted; the loop itself feeds the watchdog."""
    lines = UNIT.read_text().splitlines()
    for line in ("Type=notify", "RestartPreventExitStatus=78", "WatchdogSec=15s", "Restart=on-failure"):
        assert line in lines


def test_the_unit_never_gives_up_on_what_a_restart_can_mend() -> None:
    """A server that is away for a night: no limit of starts, and no start right after another."""
    values = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"\w+=", line))
    assert values["StartLimitIntervalSec"] == "0"
    assert "StartLimitBurst" not in values
    assert values["RestartSec"] == "3s"


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a datagram to `$NOTIFY_SOCKET`; outside of systemd nothing happens."""
    systemd.notify("READY=1")
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_the_watchdog_s_interval_is_for_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, or None."""
    assert systemd.watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_USEC", "15000000")
    assert systemd.watchdog_interval() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_interval() is None
