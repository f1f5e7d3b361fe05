"""The journal mode of a file: in WAL mode readers and writers are in nobody's way (https://www.sqlite.org/wal.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ..model import Misconfigured, Refused
from .connection import (
    WAIT,
    become_checkpointer,
    explain,
    is_busy,
    open_database,
    patiently,
    prove_writable,
    transaction,
)


def mode(conn: sqlite3.Connection) -> str:
    """Return the file's journal mode, as SQLite names it."""
    return str(patiently(lambda: conn.execute("PRAGMA journal_mode").fetchone()[0]))


def bring_to_wal(conn: sqlite3.Connection, path: Path, wait: float = WAIT) -> None:
    """Bring a file of ours to WAL mode; a copy that other tools made (VACUUM INTO, say) comes without it.

    Raises `Refused` while another program uses the file, after `wait` seconds, and `Misconfigured` where it cannot be.
    """
    try:
        there = patiently(lambda: conn.execute("PRAGMA journal_mode=WAL").fetchone()[0], wait)
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        raise Refused(
            f"{path} is in rollback-journal mode and cannot be brought to WAL mode while another program uses it. "
            "End that program and try again."
        ) from None
    if there != "wal":
        raise Misconfigured(
            f"{path} cannot be brought to WAL mode (it stays in {there} mode). "
            "Put it on a file system of this machine: a network's has no shared memory."
        )


def open_for_service(path: Path) -> sqlite3.Connection:
    """Open the daemon's database as its one checkpointer; raises also when nothing can be written to it at the moment."""
    conn = open_database(path)
    try:
        bring_to_wal(conn, path)
        become_checkpointer(conn)
        with transaction(conn):  # a read-only file lets a transaction begin, and end
            prove_writable(conn)
    except sqlite3.Error as error:
        conn.close()
        raise explain(error, path) from None
    return conn
