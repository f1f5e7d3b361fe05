"""Waits until nothing of what a command erased is left in the files."""

from __future__ import annotations

import time

from ..actions import erasing as actions
from ..settings.schema import Settings
from .database import empty_wals, is_daemon_there
from .output import say
from .run_action import CommandDatabase, run_action

LOOK = 0.1  # seconds between two looks whether the files are clean
SAY_AFTER = 3.0


def wait_until_clean(settings: Settings, database: CommandDatabase) -> None:
    """Return once nothing is left in the WAL: the daemon empties it, or this command where there is none."""
    began_at: float | None = time.monotonic()
    while (since := run_action(actions.unclean_since(database))) is not None:
        if not is_daemon_there(settings) and empty_wals(settings):
            run_action(actions.note_clean(database, since))
            continue
        if began_at is not None and time.monotonic() - began_at > SAY_AFTER:
            began_at = None
            say(
                "The tables are done. A reader of the database keeps the rest in the WAL; this goes on until it is done."
            )
        time.sleep(LOOK)
