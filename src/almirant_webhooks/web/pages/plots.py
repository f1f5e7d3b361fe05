"""Small plots as plain numbers, from the hourly counts of table `webhook_hours`; the templates draw them as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ... import clock

WIDTH = 4  # of an hour, in the units of the drawing
UP, DOWN = 30, 14  # room above the baseline for what was delivered, below it for what failed
LATENCY = 44


@dataclass(frozen=True, slots=True)
class Hour:
    """What a webhook's attempts were in one hour."""

    start: str
    succeeded: int = 0
    failed: int = 0
    mean_ms: int | None = None
    longest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One hour as drawn: its left edge, and how far it goes up and down from the baseline."""

    hour: Hour
    x: int
    up: float
    down: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Attempts by the hour: delivered above the baseline, failed below it, so that shape tells as much as colour."""

    bars: tuple[Bar, ...]
    width: int
    succeeded: int
    failed: int
    highest: int

    @property
    def words(self) -> str:
        """The plot as a sentence."""
        if not self.succeeded and not self.failed:
            return "no attempts"
        bad = [bar.hour.start[11:16] for bar in self.bars if bar.hour.failed]
        when = f" (at {', '.join(bad[:6])}{' …' if len(bad) > 6 else ''} UTC)" if bad and len(self.bars) <= 24 else ""
        return f"{self.succeeded} attempts delivered, {self.failed} failed{when}"


@dataclass(frozen=True, slots=True)
class Latency:
    """Mean and longest answer time by the hour; `mean` is a path with a gap where nothing was sent."""

    mean: str
    longest: tuple[tuple[float, float], ...]
    width: int
    most_ms: int
    mean_ms: int


def hours(rows: Iterable[Mapping[str, Any]], now: datetime, count: int) -> list[Hour]:
    """Return the last `count` hours, oldest first, the current one last; an hour without a row is empty."""
    of_hour = {row["hour"]: row for row in rows}
    result = []
    for back in range(count - 1, -1, -1):
        start = clock.text(now - timedelta(hours=back))[:13]
        row = of_hour.get(start)
        if row is None:
            result.append(Hour(f"{start}:00:00.000Z"))
            continue
        attempts = row["succeeded"] + row["failed"]
        mean = round(row["duration_ms"] / attempts) if attempts else None
        result.append(
            Hour(f"{start}:00:00.000Z", row["succeeded"], row["failed"], mean, row["longest_ms"] if attempts else None)
        )
    return result


def attempts(shown: list[Hour]) -> Plot:
    """Draw attempts by the hour, all to one scale; an hour that has any is never drawn as nothing."""
    highest = max((max(hour.succeeded, hour.failed) for hour in shown), default=0)

    def length(count: int, room: int) -> float:
        return round(max(count / highest * room, 3), 1) if count else 0

    bars = tuple(
        Bar(hour, at * WIDTH, length(hour.succeeded, UP), length(hour.failed, DOWN)) for at, hour in enumerate(shown)
    )
    return Plot(
        bars, len(shown) * WIDTH, sum(hour.succeeded for hour in shown), sum(hour.failed for hour in shown), highest
    )


def latency(shown: list[Hour]) -> Latency:
    """Draw the mean as a line and the longest of each hour as points."""
    highest = max((hour.longest_ms or 0 for hour in shown), default=0)
    scale = LATENCY / max(highest, 1)
    path, points, pen_down = [], [], False
    for at, hour in enumerate(shown):
        x = at * WIDTH + WIDTH / 2
        if hour.mean_ms is None or hour.longest_ms is None:
            pen_down = False
            continue
        y = round(LATENCY - hour.mean_ms * scale, 1)
        # A lone hour is a short dash; a line needs two points to be seen.
        path.append(f"L{x:g} {y:g}" if pen_down else f"M{x - 1:g} {y:g}L{x + 1:g} {y:g}")
        points.append((x, round(LATENCY - hour.longest_ms * scale, 1)))
        pen_down = True
    count = sum(hour.succeeded + hour.failed for hour in shown)
    total = sum((hour.mean_ms or 0) * (hour.succeeded + hour.failed) for hour in shown)
    return Latency("".join(path), tuple(points), len(shown) * WIDTH, highest, round(total / count) if count else 0)
