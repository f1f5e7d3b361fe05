"""Overwrites what is left of plain secrets in the free space of the database's file, and in its WAL."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .connection import retry_while_busy, transaction
from .errors import is_busy, primary_code

_STAYS = (
    "{path}: what was secret is sealed, but bytes of before may be left in the file's free space, as {why}. "
    "Run `almirant-webhooks migrate` again to overwrite them."
)


def overwrite(conn: sqlite3.Connection, path: Path) -> list[str]:
    """Write the file anew if secrets were plain in it; return a sentence if that has to be done later. Not in a transaction.

    It needs as much room again as the file has, and about a minute for some gigabytes.
    """
    if not conn.execute("SELECT plain_left FROM database_meta").fetchone()[0]:
        return []
    try:
        retry_while_busy(lambda: conn.execute("VACUUM"))
        if retry_while_busy(lambda: conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())[0]:
            return [_STAYS.format(path=path, why="another program reads the file")]
        with transaction(conn):
            conn.execute("UPDATE database_meta SET plain_left = 0")
    except sqlite3.OperationalError as error:
        if is_busy(error):
            return [_STAYS.format(path=path, why="another program uses the file")]
        if primary_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return [_STAYS.format(path=path, why=f"there is no room to write the file anew ({error})")]
        raise
    return []
