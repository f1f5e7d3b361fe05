"""`migrate --from FILE`: from a file to PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path

from ..model import WrongUsage
from ..ops import sealing
from ..ops.sealing import Seals
from ..settings.schema import Settings
from .output import say


def move(settings: Settings, source: Path, key: Path | None) -> None:
    """Copy the database in a file into that of the settings, and say how far it is."""
    if (place := settings.database_place) is None:
        raise WrongUsage("--from copies a file into PostgreSQL: name that in database.url.", "from")
    from ..storage.mixed import moving  # PostgreSQL's driver is not installed everywhere

    moving.check(source)
    old = sealing.beside(source) if key is None else Seals(key, is_own=False)

    def tell(table: str, copied: int, total: int) -> None:
        if sys.stderr.isatty():
            say(f"{table}: {copied} of {total} rows")

    moving.move(source, place, old, sealing.of(settings), tell, say, is_outbox_apart=settings.outbox_place is not None)
