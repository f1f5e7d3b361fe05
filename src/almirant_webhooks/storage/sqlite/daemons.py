"""The daemons on a file: there is one at most, which shares with nobody."""

from __future__ import annotations

import sqlite3

from ..records import Daemon


def listed(_: sqlite3.Connection) -> list[Daemon]:
    """Return none."""
    return []
