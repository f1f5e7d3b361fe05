"""`python -m tests.bench [FIGURE …] [--quick]`: measure, and print a table."""

from __future__ import annotations

import argparse
import importlib

from .table import show

PARTS = ("throughput", "latency", "hostile", "pages", "lists")


def main() -> None:
    """Measure what was named, or all."""
    options = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure, and print a table.")
    options.add_argument("parts", nargs="*", metavar="FIGURE", help=f"{', '.join(PARTS)} [default: all]")
    options.add_argument("--quick", action="store_true", help="See that it works, not how fast.")
    given = options.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        options.error(f"no figure is named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    chosen = given.parts or PARTS
    show(one for part in chosen for one in importlib.import_module(f"tests.bench.{part}").figures(quick=given.quick))


if __name__ == "__main__":
    main()
