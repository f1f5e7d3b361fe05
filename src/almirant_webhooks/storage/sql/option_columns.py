"""The columns of a webhook's options, as a change writes them. Call functions that write inside a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...model import MASK, OPTIONS, Headers, Options
from ...rules import filters
from ...rules.headers import merge
from .sealed import open_or_none, seal_headers, stored_headers
from .session import Session


def changed_options(conn: Session, webhook_id: str, options: Options) -> dict[str, object]:
    """Return the columns of options that a change gives another value, each with that value."""
    columns: dict[str, Any] = {name: options[name] for name in OPTIONS if name in options}  # type: ignore[literal-required]
    if not columns:
        return {}
    stored = dict(conn.execute(f"SELECT {', '.join(OPTIONS)} FROM webhooks WHERE id = ?", (webhook_id,)).fetchone())
    if columns.get("filter"):
        columns["filter"] = filters.text_of(columns["filter"])
    if "headers" in columns:
        columns["headers"] = _changed_headers(conn, webhook_id, stored["headers"], columns["headers"])
    return {name: value for name, value in columns.items() if value != stored[name]}


def _changed_headers(
    conn: Session, webhook_id: str, column: str | None, change: Mapping[str, str | None] | None
) -> str | None:
    """Return the column of headers after a change. A value that stays the same stays sealed as it is."""
    stored = stored_headers(column)
    merged = merge(stored, _without_equals(conn, webhook_id, stored, change))
    return column if merged == stored else seal_headers(conn.seals, webhook_id, merged, stored)


def _without_equals(
    conn: Session, webhook_id: str, stored: Headers, change: Mapping[str, str | None] | None
) -> Mapping[str, str | None] | None:
    """Return a change in which the mask stands for each value that is stored already."""
    if change is None:
        return None
    known = {name.lower(): open_or_none(conn, webhook_id, f"headers:{name.lower()}", value) for name, value in stored}
    return {
        name: MASK if value is not None and known.get(name.lower()) == value else value
        for name, value in change.items()
    }


def set_options(conn: Session, webhook_id: str, columns: Mapping[str, object]) -> None:
    """Write columns of options."""
    for name, value in columns.items():
        conn.execute(f"UPDATE webhooks SET {name} = ? WHERE id = ?", (value, webhook_id))
