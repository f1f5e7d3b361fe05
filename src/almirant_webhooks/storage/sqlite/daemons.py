"""The daemons on a file: there is one at most, which shares with nobody."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..records import Daemon
from . import lock


def listed(_: sqlite3.Connection) -> list[Daemon]:
    """Return none."""
    return []


def without_key(conn: sqlite3.Connection, key_id: str) -> list[str]:
    """Return the name of the daemon if there is one that has not read the key of this id."""
    path = Path(conn.execute("PRAGMA database_list").fetchone()[2])
    return [f"the one on {path}"] if lock.is_held(path) and key_id not in lock.key_ids(path) else []
