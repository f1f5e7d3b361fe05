"""What requests with a key of their own have done, sealed, as it may hold a secret that was made for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ... import clock
from ...model import Conflict
from ...ops.sealing import Unopenable
from ...rules.texts import Text
from ..engine import KEYS_KEPT, KeyedRow
from .session import Session

FIELD = "answer"


def note(conn: Session, owner: str, key_digest: str, row: KeyedRow, now: datetime) -> None:
    """Note one thing that a request has done."""
    there = conn.execute(
        "SELECT 1 FROM request_keys WHERE owner = ? AND key_digest = ? AND number = ? AND created_at >= ?",
        (owner, key_digest, row.number, clock.text(now - KEYS_KEPT)),
    ).fetchone()
    if there is not None:
        raise Conflict(Text("The same request is under way already; ask again in a moment for its answer."))
    content = conn.seals.seal(row.content or "", _bound(owner, key_digest, row.number), FIELD)
    conn.execute(
        "INSERT INTO request_keys (owner, key_digest, number, request_digest, content, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, key_digest, number) DO UPDATE SET "
        "request_digest = excluded.request_digest, content = excluded.content, created_at = excluded.created_at",
        (owner, key_digest, row.number, row.request_digest, content, clock.text(now)),
    )


def forget_older(conn: Session, owner: str, newest: int) -> None:
    """Remove what an owner has beyond the newest so many, a hundred rows at most; it is called with each that is added."""
    conn.execute(
        "DELETE FROM request_keys WHERE (owner, key_digest, number) IN (SELECT owner, key_digest, number FROM request_keys "
        "WHERE owner = ? ORDER BY created_at DESC, key_digest LIMIT 100 OFFSET ?)",
        (owner, newest),
    )


def find(conn: Session, owner: str, key_digest: str, since: datetime) -> list[KeyedRow]:
    """Return what a request has done."""
    rows = conn.execute(
        "SELECT number, request_digest, content FROM request_keys "
        "WHERE owner = ? AND key_digest = ? AND created_at >= ? ORDER BY number",
        (owner, key_digest, clock.text(since)),
    )
    return _rows(conn, owner, key_digest, rows.fetchall())


def take(conn: Session, owner: str, key_digest: str, since: datetime) -> list[KeyedRow]:
    """Return what a request has done, but for its answer, and keep it no longer."""
    rows = conn.execute(
        "DELETE FROM request_keys WHERE owner = ? AND key_digest = ? AND number > 0 AND created_at >= ? "
        "RETURNING number, request_digest, content",
        (owner, key_digest, clock.text(since)),
    )
    return _rows(conn, owner, key_digest, sorted(rows.fetchall()))


def _rows(conn: Session, owner: str, key_digest: str, rows: Iterable[Sequence[Any]]) -> list[KeyedRow]:
    return [
        KeyedRow(number, request_digest, _opened(conn, content, _bound(owner, key_digest, number)))
        for number, request_digest, content in rows
    ]


def _opened(conn: Session, content: str, bound: str) -> str | None:
    try:
        return conn.seals.open(content, bound, FIELD)
    except Unopenable:  # sealed with a key that was taken away since
        return None


def _bound(owner: str, key_digest: str, number: int) -> str:
    return f"{owner} {key_digest} {number}"


class Sweep:
    """Removes what was noted before a time, step by step; it is a `Walk`."""

    def __init__(self, before: str) -> None:
        self.removed: Counter[str] = Counter()
        self._before = before

    def step(self, conn: Session, limit: int) -> bool:
        """Remove some."""
        removed = conn.execute(
            "DELETE FROM request_keys WHERE (owner, key_digest, number) IN "
            "(SELECT owner, key_digest, number FROM request_keys WHERE created_at < ? LIMIT ?)",
            (self._before, limit),
        ).rowcount
        self.removed["request_keys"] += removed
        return removed == limit
