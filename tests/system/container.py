"""A Debian 12 root made by debootstrap and booted by systemd-nspawn; commands run in it as its root or as a user."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent.parent.parent
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,sqlite3,curl,ca-certificates"
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SOURCE = (
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "docs",
    "src",
    "systemd",
    "deploy",
    "config.example.toml",
)


def debootstrap(root: Path) -> None:
    """Make the root of a Debian 12 that systemd can boot."""
    run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)])


def run(command: list[str], cwd: Path | None = None, **variables: str) -> None:
    """Run a command of this machine; hold that it succeeds."""
    env = {**os.environ, **variables}
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 0, (command[0], done.stdout[-3000:], done.stderr[-3000:])


class Container:
    """One booted machine; it has no network but its own loopback."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self, debian: Path) -> None:
        """Make the root, a copy of the one that `debootstrap` has made."""
        run(["cp", "--archive", "--one-file-system", "--reflink=auto", str(debian), str(self.root)])

    def add_source(self) -> None:
        """Put the project's source into /src and its wheels into /wheels."""
        source = self.root / "src"
        for name in SOURCE:
            target = source / name
            if (HERE / name).is_dir():
                shutil.copytree(HERE / name, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                target.parent.mkdir(exist_ok=True)
                shutil.copy(HERE / name, target)
        pins = HERE / ".ci" / "constraints.txt"
        wheels = str(self.root / "wheels")
        run([sys.executable, "-m", "pip", "wheel", "--quiet", "-c", str(pins), "-w", wheels, str(HERE), "hatchling"])
        next((self.root / "wheels").glob("almirant_webhooks-*.whl")).unlink()

    def boot(self) -> None:
        """Start it, and wait until systemd has."""
        command = ["systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--private-network", "--quiet"]
        self._nspawn = subprocess.Popen(
            [*command, "--machine=almirant", f"--directory={self.root}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.until(self._is_up)
        except BaseException:
            self._nspawn.kill()
            self._nspawn.wait()
            raise

    def _is_up(self) -> bool:
        """Whether systemd has started all. For a moment nspawn has a child before that one, which is in no namespace yet."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
            return False
        self._init = children[0]
        return self.run("systemctl is-system-running", check=False).strip() == "running"

    def end(self) -> None:
        """Power it off, hard if it must be."""
        self._nspawn.send_signal(signal.SIGTERM)
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(int(self._init), signal.SIGKILL)
            self._nspawn.wait(30)

    def run(self, script: str, *, user: str = "root", check: bool = True, cwd: str = "/", **variables: str) -> str:
        """Run a shell script in it; return what it printed."""
        words = ["nsenter", "--target", self._init, "--all", "--", "/usr/bin/env", "-i", f"PATH={PATH}"]
        words += [f"{name}={value}" for name, value in variables.items()]
        words += ["/bin/sh", "-c", f"cd {cwd} && exec runuser -u {user} -- /bin/sh -eu"]
        done = subprocess.run(
            words, input=script, text=True, errors="replace", capture_output=True, timeout=240, check=False
        )
        assert not check or done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout if done.returncode == 0 or check else done.stdout + done.stderr

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.run(f"systemctl show --value --property={name} almirant-webhooks").strip()

    def until(self, condition: Callable[[], object], within: float = 90) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, condition
            time.sleep(0.2)
