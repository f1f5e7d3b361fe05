"""Figures and how they are printed."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .release import Release


@dataclass(frozen=True)
class Sizes:
    """How much is measured: in full, or just enough to see that it works."""

    quick: bool
    rows: int = 10_000_000  # attempts in the log of `history`
    deliveries: int = 240_000  # of `bloat`
    beside: Release | None = None  # what is measured by turns with this tree

    def of(self, full: int, quick: int) -> int:
        """Return the size for this run."""
        return quick if self.quick else full

    @property
    def rounds(self) -> range:
        """How often each thing is measured; the middle one counts."""
        return range(self.of(3, 1))


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, and what was measured beside it in the same run.

    `reached` is None where nothing was set.
    """

    name: str
    value: str
    beside: str
    reach: str = ""
    reached: bool | None = None


Part = Callable[[Sizes], Iterable[Figure]]


def median(values: Iterable[float]) -> float:
    """Return the middle one."""
    return statistics.median(values)


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which a part of them is."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def machine() -> str:
    """Say what is measured on, and with what."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    libraries = ", ".join(f"{name} {version(name)}" for name in ("almirant-webhooks", "aiohttp", "aiosqlite", "uvloop"))
    python = ".".join(map(str, sys.version_info[:3]))
    return (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {os.cpu_count()} × {model}, Linux {platform.release()}, "
        f"Python {python}, SQLite {sqlite3.sqlite_version}, {libraries}; load {os.getloadavg()[0]:.1f}"
    )


def show(figures: Iterable[Figure], beside: Release | None = None) -> None:
    """Print the table as Markdown, each line as soon as it is known."""
    begin = time.monotonic()
    print(machine() + (f"\nbeside it {beside.name}, {beside.libraries}" if beside else ""))
    print("\n| figure | measured | beside it | reach | |\n|---|---|---|---|---|", flush=True)
    for one in figures:
        mark = "" if one.reached is None else "reached" if one.reached else "short"
        print(f"| {one.name} | {one.value} | {one.beside} | {one.reach} | {mark} |", flush=True)
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes; load {os.getloadavg()[0]:.1f} at the end")
