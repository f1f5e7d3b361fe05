"""The journal mode of a file: in WAL mode readers and a writer do not block each other (https://www.sqlite.org/wal.html)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...model import Misconfigured, Refused
from . import outbox
from .connection import (
    WAIT,
    become_checkpointer,
    closed_on_error,
    open_database,
    prove_writable,
    retry_while_busy,
    transaction,
)
from .errors import is_busy


def mode(conn: sqlite3.Connection) -> str:
    """Return the file's journal mode, as SQLite names it."""
    return str(retry_while_busy(lambda: conn.execute("PRAGMA journal_mode").fetchone()[0]))


def bring_to_wal(conn: sqlite3.Connection, path: Path, wait: float = WAIT) -> None:
    """Bring a file of ours to WAL mode; a copy that other tools made (VACUUM INTO, say) comes without it.

    Raises `Refused` while another program uses the file, after `wait` seconds, and `Misconfigured` where it cannot be.
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


def open_for_service(path: Path) -> sqlite3.Connection:
    """Open the daemon's database as its one checkpointer; raises also when nothing can be written to it at the moment."""
    conn = open_database(path)
    with closed_on_error(conn, path):
        bring_to_wal(conn, path)
        become_checkpointer(conn)
        with transaction(conn):  # a read-only file lets a transaction begin, and end
            prove_writable(conn)
    return conn


def open_outbox_for_service(database_path: Path, outbox_path: Path | None) -> sqlite3.Connection:
    """Open the outbox for the daemon, in WAL mode where it is ours; raises `Misconfigured` where it would keep others out."""
    conn = outbox.open_outbox(database_path, outbox_path)
    with closed_on_error(conn, outbox_path):
        if outbox_path is not None and outbox.is_alone(conn):
            bring_to_wal(conn, outbox_path)
    return conn


def caution(conn: sqlite3.Connection) -> str | None:
    """Say what an application's journal mode costs, and what to do; None in WAL mode."""
    journal_mode = mode(conn)
    if journal_mode == "wal":
        return None
    if outbox.is_alone(conn):
        return f"The outbox is in {journal_mode} mode, where whoever reads it stops producers. Start the daemon anew, which mends it."
    return (
        f"The outbox is in an application's database in {journal_mode} mode: whoever reads that file for long stops producers' "
        "INSERTs and the taking of events. In the application set PRAGMA journal_mode=WAL, once, if it allows that."
    )
