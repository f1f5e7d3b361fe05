"""Small plots as plain numbers, from counts of attempts by the time of their start; the templates draw them as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from ... import clock
from ...rules.activity import Span, whole
from ...rules.texts import Text
from ...storage.records import Hour

WIDTH = 4  # of a bar, in the units of the drawing
UP, DOWN = 30, 14  # room above the baseline for what was delivered, below it for what failed
LEAST = 3  # a bar is this long at least
LATENCY = 44
WEEK = 168  # hours; beyond them a bar is a day


@dataclass(frozen=True, slots=True)
class Part:
    """What attempts were in one part of a span: an hour, a day, or five minutes."""

    start: str
    succeeded: int = 0
    failed: int = 0
    mean_ms: int | None = None
    longest_ms: int | None = None
    duration_ms: int = 0  # of all attempts together: a mean of rounded means is another one


@dataclass(frozen=True, slots=True)
class Bar:
    """One part as drawn: its left edge, and how far it goes up and down from the baseline."""

    part: Part
    x: int
    up: float
    down: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Attempts by the time: delivered above the baseline, failed below it, so that shape tells as much as colour."""

    bars: tuple[Bar, ...]
    width: int
    succeeded: int
    failed: int
    highest: int

    @property
    def words(self) -> Text:
        """The plot as a sentence."""
        bad = [bar.part.start[11:16] for bar in self.bars if bar.part.failed]
        return _words(self.succeeded, self.failed, bad if len(self.bars) <= 24 else [])


@dataclass(frozen=True, slots=True)
class Strip:
    """The same as two paths, for a row of a list."""

    up: str
    down: str
    width: int
    succeeded: int
    failed: int
    words: Text


def _words(succeeded: int, failed: int, bad: Sequence[str]) -> Text:
    """Return a plot as a sentence; `bad` is when attempts failed, as far as that is said."""
    if not succeeded and not failed:
        return Text("no attempts")
    if not bad:
        return Text("{succeeded} attempts delivered, {failed} failed", succeeded=succeeded, failed=failed)
    hours = f"{', '.join(bad[:6])}{' …' if len(bad) > 6 else ''}"
    return Text(
        "{succeeded} attempts delivered, {failed} failed (at {hours} UTC)",
        succeeded=succeeded,
        failed=failed,
        hours=hours,
    )


@dataclass(frozen=True, slots=True)
class Latency:
    """Mean and longest answer time by the time; `mean` is a path with a gap where nothing was sent."""

    mean: str
    longest: tuple[tuple[float, float], ...]
    width: int
    most_ms: int
    mean_ms: int


def parts(rows: Iterable[Mapping[str, Any]], now: datetime, of: Span) -> list[Part]:
    """Return the parts of a span, oldest first, the current one last; one without a row is empty."""
    by_start = {whole(row["start"]): row for row in rows}
    result = []
    for start in _starts(of.begin(now), of):
        row = by_start.get(start)
        if row is None:
            result.append(Part(start))
            continue
        attempts = row["succeeded"] + row["failed"]
        mean = round(row["duration_ms"] / attempts) if attempts else None
        longest = row["longest_ms"] if attempts else None
        result.append(Part(start, row["succeeded"], row["failed"], mean, longest, row["duration_ms"]))
    return result


@lru_cache(maxsize=8)
def _starts(begin: datetime, of: Span) -> tuple[str, ...]:
    """Return when each part begins: the same for every webhook of a list."""
    return tuple(clock.text(begin + at * of.part) for at in range(of.parts))


def span(rows: Iterable[Mapping[str, Any]], now: datetime, of: Span) -> list[Part]:
    """Return what the bars of a span show: each a part, or a day where there are more than a week of hours."""
    shown = parts(rows, now, of)
    if of.parts <= WEEK:
        return shown
    return [_sum(shown[at : at + 24]) for at in range(0, len(shown), 24)]


def _sum(parts: list[Part]) -> Part:
    """Return parts as one, from the first of them on."""
    count = sum(part.succeeded + part.failed for part in parts)
    took = sum(part.duration_ms for part in parts)
    return Part(
        parts[0].start,
        sum(part.succeeded for part in parts),
        sum(part.failed for part in parts),
        round(took / count) if count else None,
        max(part.longest_ms or 0 for part in parts) if count else None,
        took,
    )


def attempts(shown: list[Part]) -> Plot:
    """Draw attempts by the time, all to one scale; a part that has any is never drawn as nothing."""
    highest = max((max(part.succeeded, part.failed) for part in shown), default=0)
    bars = tuple(
        Bar(part, at * WIDTH, _length(part.succeeded, highest, UP), _length(part.failed, highest, DOWN))
        for at, part in enumerate(shown)
    )
    return Plot(
        bars, len(shown) * WIDTH, sum(part.succeeded for part in shown), sum(part.failed for part in shown), highest
    )


def _length(count: int, highest: int, room: int) -> float:
    return round(max(count / highest * room, LEAST), 1) if count else 0


def strip(hours: Iterable[Hour], now: datetime, of: Span) -> Strip:
    """Draw the hours of a span that have attempts, to one scale: many times for a list, so nothing is made but the paths."""
    places = _places(of.begin(now), of)
    shown = [hour for hour in hours if hour[0] in places]
    highest = max((max(succeeded, failed) for _, succeeded, failed in shown), default=1)
    up, down, ups, downs, bad = 10 * UP / highest, 10 * DOWN / highest, [], [], []
    for start, succeeded, failed in shown:
        if succeeded:
            ups.append(_bar_up(places[start], int(succeeded * up + 0.5)))
        if failed:
            downs.append(_bar_down(places[start], int(failed * down + 0.5)))
            bad.append(f"{start[11:13]}:00")
    sums = sum(map(itemgetter(1), shown)), sum(map(itemgetter(2), shown))
    return Strip("".join(ups), "".join(downs), of.parts * WIDTH, *sums, _words(*sums, bad))


@lru_cache(maxsize=8)
def _places(begin: datetime, of: Span) -> dict[str, int]:
    """Return where the bar of each hour is."""
    return {start[:13]: at for at, start in enumerate(_starts(begin, of))}


@lru_cache(maxsize=8192)
def _bar_up(at: int, tenths: int) -> str:
    length = max(tenths / 10, LEAST)
    return f"M{at * WIDTH + 0.4:g} 30v-{length:g}h3.2v{length:g}z"


@lru_cache(maxsize=8192)
def _bar_down(at: int, tenths: int) -> str:
    length = max(tenths / 10, LEAST)
    return f"M{at * WIDTH + 0.4:g} 32v{length:g}h3.2v-{length:g}z"


def latency(shown: list[Part]) -> Latency:
    """Draw the mean as a line and the longest of each part as points."""
    highest = max((part.longest_ms or 0 for part in shown), default=0)
    scale = LATENCY / max(highest, 1)
    path, points, pen_down = [], [], False
    for at, part in enumerate(shown):
        x = at * WIDTH + WIDTH / 2
        if part.mean_ms is None or part.longest_ms is None:
            pen_down = False
            continue
        y = round(LATENCY - part.mean_ms * scale, 1)
        # A lone part is a short dash; a line needs two points to be seen.
        path.append(f"L{x:g} {y:g}" if pen_down else f"M{x - 1:g} {y:g}L{x + 1:g} {y:g}")
        points.append((x, round(LATENCY - part.longest_ms * scale, 1)))
        pen_down = True
    count = sum(part.succeeded + part.failed for part in shown)
    total = sum(part.duration_ms for part in shown)
    return Latency("".join(path), tuple(points), len(shown) * WIDTH, highest, round(total / count) if count else 0)
