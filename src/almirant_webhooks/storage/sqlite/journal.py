"""The journal mode of a file: in WAL mode readers and a writer do not block each other (https://www.sqlite.org/wal.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...model import Misconfigured, Refused
from ...ops.sealing import Seals
from ..sql import sealed
from ..sql.batch import PROVE_WRITABLE
from . import outbox
from .connection import (
    WAIT,
    Connection,
    become_checkpointer,
    closed_on_error,
    open_database,
    retry_while_busy,
    transaction,
)
from .errors import is_busy


def mode(conn: sqlite3.Connection) -> str:
    """Return SQLite's name of the file's journal mode."""
    return str(retry_while_busy(lambda: conn.execute("PRAGMA journal_mode").fetchone()[0]))


def bring_to_wal(conn: sqlite3.Connection, path: Path, wait: float = WAIT) -> None:
    """Switch our file to WAL mode; a copy that another tool made (`VACUUM INTO`) is not in it.

    Raises `Refused` if another program still uses the file after `wait` seconds, and `Misconfigured` if it is impossible.
    """
    try:
        journal_mode = retry_while_busy(lambda: conn.execute("PRAGMA journal_mode=WAL").fetchone()[0], wait)
    except sqlite3.OperationalError as error:
        if not is_busy(error):
            raise
        raise Refused(
            f"{path} is in rollback-journal mode and cannot be brought to WAL mode while another program uses it. "
            "End that program and try again."
        ) from None
    if journal_mode != "wal":
        raise Misconfigured(
            f"{path} cannot be brought to WAL mode (it stays in {journal_mode} mode). "
            "Put it on a file system of this machine: a network's has no shared memory."
        )


def open_for_service(path: Path, seals: Seals | None = None) -> Connection:
    """Open the daemon's database as its only checkpointer.

    It also raises if nothing can be written at the moment, and `Misconfigured` without the key of what is sealed in it.
    """
    conn = open_database(path, seals)
    with closed_on_error(conn, path):
        sealed.check(conn)
        bring_to_wal(conn, path)
        become_checkpointer(conn)
        with transaction(conn):  # in a read-only file an empty transaction succeeds
            conn.execute(PROVE_WRITABLE)
    return conn


def open_outbox_for_service(database_path: Path, outbox_path: Path | None) -> Connection:
    """Open the outbox for the daemon, in WAL mode if it is ours; raises `Misconfigured` if that would lock others out."""
    conn = outbox.open_outbox(database_path, outbox_path)
    with closed_on_error(conn, outbox_path):
        if outbox_path is not None and outbox.is_alone(conn):
            bring_to_wal(conn, outbox_path)
    return conn


def caution(conn: sqlite3.Connection) -> str | None:
    """Return a sentence on what the application's journal mode costs and what to do, or None in WAL mode."""
    journal_mode = mode(conn)
    if journal_mode == "wal":
        return None
    if outbox.is_alone(conn):
        return f"The outbox is in {journal_mode} mode, where whoever reads it stops producers. Start the daemon anew, which mends it."
    return (
        f"The outbox is in an application's database in {journal_mode} mode: whoever reads that file for long stops producers' "
        "INSERTs and the taking of events. In the application set PRAGMA journal_mode=WAL, once, if it allows that."
    )
