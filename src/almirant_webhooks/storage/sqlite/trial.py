"""What `doctor` tries on the outbox, as a producer and as the daemon: all of it is rolled back."""

from __future__ import annotations

import sqlite3

from . import triggers

_TRIED = "('doctor', 'doctor.looks', '{}')"


def insert(conn: sqlite3.Connection) -> str | None:
    """Insert an event as a producer does and roll it back; return SQLite's words where that fails."""
    try:
        conn.execute("BEGIN IMMEDIATE")
        conn.execute(f"INSERT INTO outbox (project_id, event_type, payload) VALUES {_TRIED}")
    except sqlite3.Error as error:
        return str(error)
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
    return None


def mark(conn: sqlite3.Connection) -> str | None:
    """Mark an event as the daemon does and roll it back; return why that fails."""
    try:
        conn.execute("BEGIN IMMEDIATE")
        conn.execute(f"INSERT INTO outbox (project_id, event_type, payload) VALUES {_TRIED}")
        marked = conn.execute("UPDATE outbox SET fanned_out_at = occurred_at WHERE id = last_insert_rowid()").rowcount
        refusal = (
            None
            if marked
            else triggers.ignored_marks(conn, [conn.execute("SELECT last_insert_rowid()").fetchone()[0]])[1]
        )
    except sqlite3.Error as error:
        return str(triggers.trigger_error(conn, error) or error)
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
    return None if refusal is None else str(refusal)
