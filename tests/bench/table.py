"""Figures and how they are printed."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, beside what it should reach; `reached` is None where nothing was set."""

    name: str
    value: str
    reach: str
    reached: bool | None


def median(values: Sequence[float]) -> float:
    """Return the middle one."""
    return statistics.median(values)


def machine() -> str:
    """Say what was measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}, Python {python}, SQLite {sqlite3.sqlite_version}"


def show(figures: Iterable[Figure]) -> None:
    """Print the table as Markdown."""
    print(f"{machine()}\n\n| figure | measured | reach | |\n|---|---|---|---|")
    for one in figures:
        mark = "" if one.reached is None else "reached" if one.reached else "short"
        print(f"| {one.name} | {one.value} | {one.reach} | {mark} |", flush=True)
