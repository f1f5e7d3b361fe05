"""What tests need beside Python: programs, root's rights, namespaces, file systems of their own.

A test whose need is missing is skipped with the reason; in CI a skip is a failure (`conftest`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # not in every user's PATH
is_fast = False  # whether the test that runs is of the fast tier


def more_than_python(what: str) -> None:
    """Fail where a fast test asks for more than Python."""
    assert not is_fast, f"a fast test needs {what}: mark it `long`"


def program(name: str) -> str:
    """Return the path of a program."""
    more_than_python(name)
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def root(what: str) -> None:
    """Go on as root alone, for what is named."""
    if os.geteuid() != 0:
        pytest.skip(f"{what} needs root")


def namespaces() -> None:
    """Go on where `unshare` makes namespaces for a network and for mounts, and `ip` is there to fill the first."""
    program("ip")
    _works([program("unshare"), "--net", "--mount", "true"], "a network of our own")


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """Make a file system of a size at a path."""
    path.mkdir()
    _works(
        [program("mount"), "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)], "a file system of our own"
    )
    yield path
    subprocess.run([program("umount"), "--lazy", str(path)], check=True)


def shared_library(source: Path, folder: Path) -> Path:
    """Compile a C file to a library that can be preloaded."""
    made = folder / source.with_suffix(".so").name
    command = [program("gcc"), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(made), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return made


def _works(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{what} cannot be made here: {done.stderr.strip().splitlines()[0]}")
