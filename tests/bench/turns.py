"""Runs of this tree's daemon and of another release's, by turns on one machine, and their ratio pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .release import FIRST, Release
from .table import Figure, median

T = TypeVar("T")


@dataclass
class Turns(Generic[T]):
    """What was measured of this tree, and of the release beside it, if any: runs of one index are a pair."""

    beside: Release | None
    this: list[T] = field(default_factory=list)
    that: list[T] = field(default_factory=list)

    def take(self, measure: Callable[[Release | None], T]) -> None:
        """Measure each once, one right after the other; which one begins changes from pair to pair."""
        sides: list[tuple[list[T], Release | None]] = [(self.this, None)]
        if self.beside is not None:
            sides.insert(1 - len(self.this) % 2, (self.that, self.beside))
        for runs, release in sides:
            runs.append(measure(release))

    def compared(
        self, name: str, of: Callable[[T], float], words: str, *, least: float | None = None, most: float | None = None
    ) -> Iterator[Figure]:
        """Yield the middle value of this, of that, and of the ratios with their range; nothing where there is no other.

        `words` formats a value. What the ratio is to reach is said where the other one is release 0.1.0.
        """
        if self.beside is None:
            return
        this, that = [of(run) for run in self.this], [of(run) for run in self.that]
        ratios = [own / max(other, 1e-9) for own, other in zip(this, that, strict=True)]
        middle, reach, reached = median(ratios), "", None
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        printed = round(middle, 2)  # what is said to be equal counts as equal
        if self.beside.commit == FIRST and least is not None:
            reach, reached = f"≥ {least:g} times", printed >= least
        elif self.beside.commit == FIRST and most is not None:
            reach, reached = f"≤ {most:g} times", printed <= most
        yield Figure(
            f"{name}, by turns with {self.beside.name}",
            words.format(median(this)),
            f"{words.format(median(that))}: {middle:.2f} times{spread}",
            reach,
            reached,
        )
