"""`python -m tests.bench FIGURE … | all [--quick]`: measure, and print a table."""

from __future__ import annotations

import argparse

from . import (
    backlog,
    cost,
    growth,
    history,
    hostile,
    idle,
    isolation,
    latency,
    lists,
    pages,
    throughput,
    upkeep,
    waiting,
)
from .table import Part, Sizes, show

PARTS: dict[str, Part] = {
    "throughput": throughput.figures,
    "tls": throughput.tls,
    "fan-out": throughput.fan_out,
    "latency": latency.figures,
    "idle": idle.figures,
    "isolation": isolation.figures,
    "hostile": hostile.figures,
    "backlog": backlog.figures,
    "history": history.figures,
    "growth": growth.figures,
    "cost": cost.figures,
    "pages": pages.figures,
    "lists": lists.figures,
    "upkeep": upkeep.figures,
    "waiting": waiting.figures,
}


def main() -> None:
    """Measure what was named, or all."""
    options = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure, and print a table.")
    options.add_argument("parts", nargs="+", metavar="FIGURE", help=f"all, or {', '.join(PARTS)}")
    options.add_argument("--quick", action="store_true", help="see that it works, not how fast")
    options.add_argument("--rows", type=int, default=10_000_000, help="attempts in the log of history [%(default)s]")
    given = options.parse_args()
    if unknown := set(given.parts) - {*PARTS, "all"}:
        options.error(f"no figure is named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sizes = Sizes(given.quick, given.rows)
    chosen = PARTS if "all" in given.parts else given.parts
    show(one for part in chosen for one in PARTS[part](sizes))


if __name__ == "__main__":
    main()
