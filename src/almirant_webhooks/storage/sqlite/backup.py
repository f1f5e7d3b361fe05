"""Backs a database up while it is in use, as a whole or not at all (https://www.sqlite.org/backup.html)."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ...model import Misconfigured, Refused
from ...ops import files
from . import free_pages
from .connection import begin_reading, connect, end_reading
from .errors import user_error

PAGES = 1000  # in one step


def copy(conn: sqlite3.Connection, file: Path, progress: Callable[[int, int], None]) -> int:
    """Copy the database as it is now to a new file (0600), check the copy, and return its bytes.

    What a migration could not overwrite yet of plain secrets is not in the copy.

    It is one read transaction: writers go on, and the copy shows one moment. The file gets its name
    when it is complete and synced. `progress` is called with the pages left and the pages in all.
    """
    if file.exists():
        raise Refused(f"{file} is there already and is not overwritten; name a new file.")
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(files.create(part, 0o600))
    except OSError as error:
        raise Refused(f"{file} cannot be written by this user ({error.strerror}); name a file elsewhere.") from None
    try:
        _copy_pages(conn, part, progress)
        _check(part)
        _put_in_place(part, file)
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            Path(f"{part}{ending}").unlink(missing_ok=True)
    return file.stat().st_size


def _copy_pages(conn: sqlite3.Connection, part: Path, progress: Callable[[int, int], None]) -> None:
    begin_reading(conn)  # until the end: a backup starts over whenever its source has changed between two steps
    try:
        conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        with closing(sqlite3.connect(part)) as copied:
            conn.backup(copied, pages=PAGES, progress=lambda _, left, total: progress(left, total))
    except sqlite3.Error as error:
        raise user_error(error, part) from None
    finally:
        end_reading(conn)


def _check(part: Path) -> None:
    """See that the copy is whole, and that it has nothing of secrets from before they were sealed."""
    with closing(connect(part)) as copied:
        verdict = copied.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise Misconfigured(f"The database is damaged ({verdict}); what was copied of it was thrown away.")
        if free_pages.overwrite(copied, part):
            raise Refused(
                "The database may have bytes of secrets in its free space, of before they were sealed, and there is no room "
                f"in {part.parent} to write the copy without them. Make room there, or run `almirant-webhooks migrate` first."
            )


def _put_in_place(part: Path, file: Path) -> None:
    for path, name in ((part, ""), (part.parent, file.name)):
        if name:
            try:
                os.link(part, file)  # unlike a rename it never replaces another file
            except FileExistsError:
                raise Refused(f"{file} is there already and is not overwritten; name a new file.") from None
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
