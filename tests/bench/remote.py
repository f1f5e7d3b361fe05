"""What the Python of another checkout runs, started by `release`: it calls that checkout's own benchmarks on a bench.

`tests.bench` is the other checkout's here, so this file uses only what release 0.1.0 has as well: `Bench.add_webhooks`,
`check_rows` and `fill_due`, with the same parameters. Questions and answers are lines of JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import almirant_webhooks
from tests.bench.daemon import Bench, check_rows
from tests.bench.filling import fill_due

LIBRARIES = ("aiohttp", "aiosqlite", "uvloop")
FUNCTIONS = {"add_webhooks": Bench.add_webhooks, "check_rows": check_rows, "fill_due": fill_due}


class _Made(Bench):
    """A bench whose database is there already."""

    def __post_init__(self) -> None:
        self.database = self.folder / "hooks.db"


def _answer(question: dict[str, Any]) -> dict[str, object]:
    function: Any = FUNCTIONS[question["function"]]
    try:
        return {"result": function(_Made(Path(question["folder"])), *question["values"], **question["options"])}
    except SystemExit as error:
        return {"refused": str(error)}


def _say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


def main() -> None:
    """Say which release this is, and answer until nobody asks any more."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    _say({"version": version("almirant-webhooks"), "source": almirant_webhooks.__file__, "libraries": libraries})
    for line in sys.stdin:
        _say(_answer(json.loads(line)))


if __name__ == "__main__":
    main()
