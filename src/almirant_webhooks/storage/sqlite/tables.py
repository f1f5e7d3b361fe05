"""Finds out whether a file has the outbox's tables, and in which version."""

from __future__ import annotations

import sqlite3

from ...model import Misconfigured
from ..outbox_rows import OUTBOX_COLUMNS


def schema_version(conn: sqlite3.Connection) -> int:
    """Return the version of the outbox's tables, 0 when there are none; raises `Misconfigured` for tables of others."""
    names = conn.execute("SELECT name FROM sqlite_schema WHERE lower(name) IN ('outbox', 'outbox_meta')")
    columns_by_table = {row[0].lower(): _columns(conn, row[0]) for row in names}
    path = conn.execute("PRAGMA database_list").fetchone()[2]
    for name, columns in columns_by_table.items():
        if not columns >= OUTBOX_COLUMNS[name]:
            raise Misconfigured(
                f"{path} has something of another program that is named {name}: it has no column "
                f"{min(OUTBOX_COLUMNS[name] - columns)}. Put the outbox into another file (outbox.path), or rename that in the "
                "application."
            )
    if not columns_by_table:
        return 0
    if len(columns_by_table) == 1:
        raise Misconfigured(
            f"Of the tables outbox and outbox_meta in {path} one is there without the other. "
            "Restore the file from a backup."
        )
    row = conn.execute("SELECT schema_version FROM outbox_meta").fetchone()
    return int(row[0]) if row else 0


def _columns(conn: sqlite3.Connection, table: str) -> set[str]:
    return {row[0] for row in conn.execute("SELECT name FROM pragma_table_info(?)", (table,))}
