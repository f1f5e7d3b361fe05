"""Free space in the database's file: it is overwritten where secrets were plain, and given back where there is much of it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from .connection import retry_while_busy, transaction
from .errors import is_busy, primary_code

_STAYS = (
    "{path}: what was secret is sealed, but bytes of before may be left in the file's free space, as {why}. "
    "Run `almirant-webhooks migrate` again to overwrite them."
)

# Free pages are used again by new rows; only more than these are given back to the file system.
SPARE_PAGES = 1000


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


def release_pages(conn: sqlite3.Connection, pages: int) -> int:
    """Return up to `pages` free pages to the file system, if there are more than will soon be used again."""
    free = int(conn.execute("PRAGMA freelist_count").fetchone()[0])
    total = int(conn.execute("PRAGMA page_count").fetchone()[0])
    surplus = min(pages, free - max(SPARE_PAGES, total // 20))
    if surplus <= 0:
        return 0
    # It frees a page for each row that is fetched.
    conn.execute(f"PRAGMA incremental_vacuum({surplus})").fetchall()
    return free - int(conn.execute("PRAGMA freelist_count").fetchone()[0])
