"""Another checkout of this project, whose daemon is measured by turns with this tree's.

The benchmarks here drive both: they run the other's `almirant-webhooks`, insert into its outbox and read its metrics and
log. What depends on a release's tables (making webhooks, filling in deliveries, checking the log) runs in the other's
Python, by the benchmarks of its own checkout: `remote` is what answers there.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

HERE = Path(__file__).parents[2]
FIRST = "0a389f2"  # the commit of release 0.1.0


@dataclass(frozen=True)
class Release:
    """A checkout with an environment of its own in `.venv`, and a process of its Python that knows its tables."""

    folder: Path
    version: str
    commit: str
    libraries: str
    process: subprocess.Popen[str]

    @property
    def name(self) -> str:
        """Say which release it is: its version, and its commit where there is one."""
        return f"{self.version} at {self.commit}" if self.commit else self.version

    @property
    def program(self) -> Path:
        """Return the command that an operator of it runs."""
        return self.folder / ".venv" / "bin" / "almirant-webhooks"

    def ask(self, function: str, folder: Path, values: Sequence[object], options: dict[str, object]) -> Any:
        """Have a function called on the bench in a folder; a run that does not count ends this program."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        question = {"function": function, "folder": str(folder), "values": values, "options": options}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"The Python of {self.folder} ended while it ran {function}; what it said stands above.")
        read = json.loads(answer)
        if "refused" in read:
            raise SystemExit(f"{self.name}: {read['refused']}")
        return read["result"]


class Benched(Protocol):
    """What a function needs to know of a bench to be called where its release is."""

    folder: Path
    release: Release | None


B = TypeVar("B", bound=Benched)
P = ParamSpec("P")
R = TypeVar("R")


def in_its_release(function: Callable[Concatenate[B, P], R]) -> Callable[Concatenate[B, P], R]:
    """Call a function of a bench here, or the one of that name in the release that the bench is for."""
    name = getattr(function, "__name__", "")

    @functools.wraps(function)
    def call(bench: B, /, *values: P.args, **options: P.kwargs) -> R:
        if bench.release is None:
            return function(bench, *values, **options)
        result: R = bench.release.ask(name, bench.folder, values, options)
        return result

    return call


@contextmanager
def opened(folder: Path | None) -> Iterator[Release | None]:
    """Yield the release in a folder, or None where none is asked for; its Python runs until the block ends."""
    if folder is None:
        yield None
        return
    folder = folder.absolute()
    python = folder / ".venv" / "bin" / "python"
    if not python.is_file():
        raise SystemExit(f"{folder} has no .venv/bin/python. `python -m tests.bench release COMMIT FOLDER` makes both.")
    process = subprocess.Popen(
        [python, "-P", HERE / "tests" / "bench" / "remote.py"], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:  # at the end of its standard input it ends
        yield _read_greeting(folder, process)


def _read_greeting(folder: Path, process: subprocess.Popen[str]) -> Release:
    """Return the release that has started, whose first line says what it is."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"The benchmarks of {folder} could not be loaded by its .venv; what it said stands above.")
    greeting = json.loads(line)
    source = (folder / "src").resolve()
    if not Path(greeting["source"]).resolve().is_relative_to(source):
        raise SystemExit(f"{folder}/.venv runs {greeting['source']}, which is not under {source}: install it with -e.")
    described = subprocess.run(
        ["git", "-C", folder, "describe", "--always", "--abbrev=7", "--exclude=*", "--dirty"],
        capture_output=True, text=True,
    )  # fmt: skip
    return Release(folder, greeting["version"], described.stdout.strip(), greeting["libraries"], process)


def make(words: Sequence[str]) -> None:
    """Make a worktree of a commit and, in its `.venv`, an environment with the libraries that the commit names."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench release",
        description="Make a checkout of another release with an environment of its own, to measure by turns with.",
    )
    parser.add_argument("commit", metavar="COMMIT", help=f"of the release; {FIRST} is 0.1.0")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="to be made")
    options = parser.parse_args(words)
    folder: Path = options.folder.absolute()
    if folder.exists():
        parser.error(f"{folder} is there already: name a folder that is not, or give it to --beside as it is")
    _run("git", "-C", HERE, "worktree", "add", "--quiet", "--detach", folder, options.commit)
    venv.create(folder / ".venv", with_pip=True, symlinks=True)
    pip = folder / ".venv" / "bin" / "pip"
    _run(pip, "install", "--quiet", "-c", folder / ".ci" / "constraints.txt", "-e", folder, "trustme")
    print(f"python -m tests.bench throughput --beside {options.folder}   # measures by turns with it")
    print(f"git worktree remove --force {options.folder}   # removes it")


def _run(*command: str | Path) -> None:
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise SystemExit(f"This failed, and said why above: {' '.join(map(str, command))}")
