"""The columns of a webhook's options, as a change writes them. Call functions that write inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from ...model import OPTIONS, Options
from ...rules import filters
from ...rules.headers import merge
from .webhook_headers import column_of, headers_of


def changed_options(conn: sqlite3.Connection, webhook_id: str, options: Options) -> dict[str, object]:
    """Return the columns of options that a change gives another value, each with that value."""
    columns: dict[str, Any] = {name: options[name] for name in OPTIONS if name in options}  # type: ignore[literal-required]
    if not columns:
        return {}
    stored = dict(conn.execute(f"SELECT {', '.join(OPTIONS)} FROM webhooks WHERE id = ?", (webhook_id,)).fetchone())
    if columns.get("filter"):
        columns["filter"] = filters.text_of(columns["filter"])
    if "headers" in columns:
        columns["headers"] = column_of(merge(headers_of(stored["headers"]), columns["headers"]))
    return {name: value for name, value in columns.items() if value != stored[name]}


def set_options(conn: sqlite3.Connection, webhook_id: str, columns: Mapping[str, object]) -> None:
    """Write columns of options."""
    for name, value in columns.items():
        conn.execute(f"UPDATE webhooks SET {name} = ? WHERE id = ?", (value, webhook_id))
