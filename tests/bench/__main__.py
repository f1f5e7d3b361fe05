"""`python -m tests.bench FIGURE … | all [--quick] [--beside FOLDER]`: measure, and print a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from . import (
    backlog,
    bloat,
    call,
    cost,
    daemons,
    exchange,
    growth,
    history,
    hostile,
    idle,
    isolation,
    latency,
    limited,
    lists,
    live,
    moving,
    options,
    pages,
    pages_postgres,
    postgres,
    release,
    shared,
    takeover,
    throughput,
    upkeep,
    waiting,
)
from .steady import NoEvent
from .table import Figure, Part, Sizes, show

PARTS: dict[str, Part] = {
    "throughput": throughput.figures,
    "tls": throughput.tls,
    "fan-out": throughput.fan_out,
    "live": live.figures,
    "latency": latency.figures,
    "call": call.figures,
    "idle": idle.figures,
    "isolation": isolation.figures,
    "hostile": hostile.figures,
    "backlog": backlog.figures,
    "history": history.figures,
    "growth": growth.figures,
    "cost": cost.figures,
    "exchange": exchange.figures,
    "options": options.figures,
    "pages": pages.figures,
    "pages-postgres": pages_postgres.figures,
    "lists": lists.figures,
    "upkeep": upkeep.figures,
    "waiting": waiting.figures,
    "limited": limited.figures,
    "postgres": postgres.figures,
    "daemons": daemons.figures,
    "isolation-daemons": shared.figures,
    "bloat": bloat.figures,
    "take-over": takeover.figures,
    "moving": moving.figures,
}
BY_TURNS = ("throughput", "tls", "fan-out", "live", "latency", "call", "isolation", "hostile", "growth", "cost")


def measured(name: str, sizes: Sizes) -> Iterator[Figure]:
    """Yield the figures of a part. A short run on a busy machine can be over before an event came: then it says so."""
    try:
        yield from PARTS[name](sizes)
    except NoEvent as error:
        if not sizes.quick:
            raise
        yield Figure(name, "not measured", str(error))


def main() -> None:
    """Measure what was named, or all; or make a release to measure by turns with."""
    if sys.argv[1:2] == ["release"]:
        release.make(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure, and print a table.",
        epilog="`release COMMIT FOLDER` makes a checkout of another release for --beside.",
    )
    parser.add_argument("parts", nargs="+", metavar="FIGURE", help=f"all, or {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="see that it works, not how fast")
    parser.add_argument("--rows", type=int, default=10_000_000, help="attempts in the log of history [%(default)s]")
    parser.add_argument("--deliveries", type=int, default=240_000, help="deliveries of bloat [%(default)s]")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="FOLDER",
        help=f"a checkout with a .venv, measured by turns with this one: {', '.join(BY_TURNS)}",
    )
    given = parser.parse_args()
    if unknown := set(given.parts) - {*PARTS, "all"}:
        parser.error(f"no figure is named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if given.beside and (alone := set(given.parts) - {*BY_TURNS, "all"}):
        parser.error(f"{', '.join(sorted(alone))} cannot be measured by turns: leave --beside out for it")
    with release.opened(given.beside) as beside:
        sizes = Sizes(given.quick, given.rows, given.deliveries, beside)
        chosen = PARTS if "all" in given.parts else given.parts
        show((one for part in chosen for one in measured(part, sizes)), beside)


if __name__ == "__main__":
    main()
