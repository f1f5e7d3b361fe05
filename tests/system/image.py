"""The container image: built by buildah without any registry, and run by systemd-nspawn as its own configuration says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .container import HERE, run

TOOLS = ("buildah", "systemd-nspawn", "nsenter")
UID = 10001
NAME = "localhost/almirant-webhooks"
DATA = "/var/lib/almirant-webhooks"


class Image:
    """An image in a store of its own below a folder; `root` is its file system, `config` what it says of how to run it."""

    def __init__(self, folder: Path) -> None:
        self._words = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run")]
        self._words += ["--storage-driver", "vfs"]  # it needs neither overlays nor /dev/fuse
        self._folder = folder

    def build(self, debian: Path) -> None:
        """Build it on a Debian's root, with wheels from a folder in place of an index."""
        self._buildah("from", "--name", "base", "scratch")
        run(["cp", "--archive", f"{debian}/.", self._buildah("mount", "base")])
        self._buildah("commit", "--quiet", "--rm", "base", "localhost/debian:bookworm")
        wheels = self._folder / "wheels"
        pins = str(HERE / ".ci" / "constraints.txt")
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "-c", pins, "-w", str(wheels)]
        run([*wheel, f"{HERE}[postgres]", "hatchling"])
        next(wheels.glob("almirant_webhooks-*.whl")).unlink()
        arguments = ["BASE=localhost/debian:bookworm", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels"]
        self._buildah(
            "bud", "--quiet", "--isolation", "chroot", "--format", "docker", "--pull-never",
            *(word for argument in arguments for word in ("--build-arg", argument)),
            "--volume", f"{wheels}:/wheels:ro", "--tag", NAME, "--file", str(HERE / "deploy" / "Containerfile"), str(HERE),
        )  # fmt: skip
        self._buildah("from", "--pull-never", "--name", "made", NAME)
        self.root = Path(self._buildah("mount", "made"))
        self.config: dict[str, Any] = json.loads(self._buildah("inspect", "--type", "image", NAME))["Docker"]["config"]

    def history(self) -> str:
        """Return all that the image tells of how it was made."""
        return self._buildah("inspect", "--type", "image", NAME)

    def _buildah(self, *words: str) -> str:
        done = subprocess.run([*self._words, *words], text=True, capture_output=True, check=False)
        assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout.strip()


class Running:
    """A process of an image, as a container engine runs it: the first one there, as the image's user, with nothing to write to.

    `words` take the place of the image's command, `environment` is added to the image's, `folders` are bound to the paths that
    they have there. It has the machine's network, on which tests give it a port.
    """

    def __init__(
        self, image: Image, log: Path, words: Sequence[str] = (), *, environment: Mapping[str, str], folders: Mapping[str, Path]
    ) -> None:  # fmt: skip
        config = image.config
        self.environment = {**dict(variable.split("=", 1) for variable in config["Env"]), **environment}
        self._log = log
        self._folder = config["WorkingDir"]
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--link-journal=no"]
        command += [
            f"--directory={image.root}",
            "--read-only",
            "--user=almirant-webhooks",
            f"--chdir={config['WorkingDir']}",
        ]
        command += ["--drop-capability=all", "--no-new-privileges=yes", f"--kill-signal={config['StopSignal']}"]
        command += [f"--setenv={name}={value}" for name, value in self.environment.items()]
        command += [f"--bind={path}:{there}" for there, path in folders.items()]
        command += [*config["Entrypoint"], *(words or config["Cmd"])]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def pid(self) -> int:
        """Return the process that is the first one there, as the machine numbers it."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def ask(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as `exec` of a container engine does."""
        there = ["nsenter", "--target", str(self.pid()), "--all", "--setuid", str(UID), "--setgid", str(UID), "--"]
        there += [
            "/usr/bin/env",
            "-i",
            f"--chdir={self._folder}",
            *(f"{name}={value}" for name, value in self.environment.items()),
            *words,
        ]
        return subprocess.run(there, text=True, capture_output=True, timeout=60, check=False)

    def stop(self, within: float = 30) -> int:
        """Ask it to stop, as a container engine does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self) -> None:
        """Let it be gone at once."""
        if self.process.poll() is None:
            os.kill(self.pid(), signal.SIGKILL)
            self.process.wait(30)


def until(condition: Any, within: float = 60) -> Any:
    """Wait until a condition holds; return what it is then."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, condition
        time.sleep(0.1)
    return found
