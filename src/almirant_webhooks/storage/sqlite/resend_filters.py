"""Which deliveries a resend of many is for. The filters are those of `log.conditions`.

Tests, and deliveries that wait for their first attempt, are left out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from . import search

_ELSEWHERE = {
    "event_id": "d.event_id = ?",
    "event_type": "EXISTS (SELECT 1 FROM events e WHERE e.seq = d.event_seq AND e.event_type = ?)",
    "cause": "EXISTS (SELECT 1 FROM attempts a WHERE a.delivery_id = d.id AND instr(lower(a.cause), lower(?)) > 0)",
}


def small_index(conn: sqlite3.Connection, filters: Mapping[str, Any]) -> str:
    """Return the condition of the small index that holds all that can match; what is pending and was tried is unwell."""
    return search.UNWELL if filters.get("state") == "pending" else search.small_index(conn, filters)


def matching(filters: Mapping[str, Any], state_is: str = "d.state") -> tuple[str, list[object]]:
    """Return what is asked of a row of `deliveries d`, with its values; its webhook and time are seen to otherwise."""
    conditions: list[str] = [f"d.test = 0 AND d.attempts + ({state_is} <> 'pending') > 0"]
    values: list[object] = []
    state, status = filters.get("state"), filters.get("status")
    if state is not None:
        conditions.append(f"{state_is} = ?")
        values.append(state)
    if status is not None:
        is_class = len(status) == 3 and status.endswith("xx")
        conditions.append(f"coalesce(d.last_status {'GLOB' if is_class else '='} ?, 0)")
        values.append(f"{status[0]}[0-9][0-9]" if is_class else status)
    for name, condition in _ELSEWHERE.items():
        if filters.get(name) is not None:
            conditions.append(condition)
            values.append(filters[name])
    return " AND ".join(conditions), values
