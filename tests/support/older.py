"""Older releases of SQLite, built from their real sources and loaded in the place of the system's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

# A Go module that brings SQLite's own source in one file; Go's client fetches it, checks its sum, and keeps it.
MODULE = "github.com/mattn/go-sqlite3"
VERSIONS = {"3.36.0": "v1.14.9", "3.37.0": "v1.14.10"}
# What Debian builds SQLite with and Python or a test needs; JSON was an option before 3.38.
OPTIONS = ("COLUMN_METADATA", "LOAD_EXTENSION", "MATH_FUNCTIONS", "DBSTAT_VTAB")


def library(version: str, folder: Path, *, with_json: bool = True) -> Path:
    """Return the library, built into a folder unless it is there; skips the test where a tool is missing."""
    for tool in ("go", "gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed, which an older SQLite is built with")
    made = folder / f"libsqlite3-{version}{'' if with_json else '-without-json'}.so"
    if not made.exists():
        options = [f"-DSQLITE_ENABLE_{name}" for name in (*OPTIONS, *(("JSON1",) if with_json else ()))]
        part = made.with_suffix(f".{os.getpid()}")
        words = ["gcc", "-w", "-shared", "-fPIC", *options, "-DSQLITE_MAX_VARIABLE_NUMBER=250000"]
        subprocess.run([*words, "-o", part, _source(version), "-lm", "-ldl", "-lpthread"], check=True)
        part.rename(made)
    return made


def _source(version: str) -> Path:
    fetched = subprocess.run(
        ["go", "mod", "download", "-json", f"{MODULE}@{VERSIONS[version]}"], check=False, capture_output=True, text=True
    )
    if fetched.returncode:
        pytest.skip(f"the source of SQLite {version} cannot be fetched: {fetched.stdout[-500:]}{fetched.stderr[-500:]}")
    source = Path(json.loads(fetched.stdout)["Dir"]) / "sqlite3-binding.c"
    assert f'#define SQLITE_VERSION        "{version}"' in source.read_text()
    return source


def preloaded(library: Path) -> dict[str, str]:
    """Return the environment of a process that loads this library in the place of the system's."""
    return {**os.environ, "LD_PRELOAD": str(library)}
