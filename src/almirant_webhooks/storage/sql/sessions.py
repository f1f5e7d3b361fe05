"""Sessions of browsers, and links that were used; of each cookie and link what is stored is a digest."""

from __future__ import annotations

from collections import Counter

from ...model import Conflict, NotFound
from ...rules.texts import Text
from ..engine import SessionRow
from .rows import row_as
from .session import Session

_KEPT = ("sessions", "used_links")


def start(conn: Session, row: SessionRow, *, digest: str, replaces: str | None) -> None:
    """Store a new session in place of another one."""
    if replaces is not None:
        conn.execute("DELETE FROM sessions WHERE id = ?", (replaces,))
    columns = {**row, "digest": digest}
    conn.execute(
        f"INSERT INTO sessions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", tuple(columns.values())
    )


def use_link(conn: Session, digest: str, expires_at: str) -> None:
    """Note that a link was used; refused for one that was used before."""
    if is_link_used(conn, digest):
        raise Conflict(Text("This link was used already: each opens the pages once. Ask for a new one."))
    conn.execute("INSERT INTO used_links (digest, expires_at) VALUES (?, ?)", (digest, expires_at))


def is_link_used(conn: Session, digest: str) -> bool:
    """Tell whether a link was used."""
    return conn.execute("SELECT 1 FROM used_links WHERE digest = ?", (digest,)).fetchone() is not None


def renew(conn: Session, session_id: str, expires_at: str) -> None:
    """Let a session last longer."""
    conn.execute("UPDATE sessions SET expires_at = max(expires_at, ?) WHERE id = ?", (expires_at, session_id))


def end(conn: Session, session_id: str) -> SessionRow:
    """End a session and return what it was."""
    row = conn.execute("SELECT * FROM sessions WHERE id = ?", (session_id,)).fetchone()
    if row is None:
        raise NotFound(Text("There is no session {session_id}.", session_id=session_id), "id")
    conn.execute("DELETE FROM sessions WHERE id = ?", (session_id,))
    return row_as(SessionRow, row)


def find(conn: Session, digest: str) -> SessionRow | None:
    """Return the session of a cookie, or None."""
    row = conn.execute("SELECT * FROM sessions WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else row_as(SessionRow, row)


def under_way(conn: Session, key_digest: str, now: str, limit: int) -> list[SessionRow]:
    """Return sessions that have not expired, the newest first."""
    rows = conn.execute(
        "SELECT * FROM sessions WHERE expires_at > ? AND key_digest = ? ORDER BY created_at DESC LIMIT ?",
        (now, key_digest, limit),
    )
    return [row_as(SessionRow, row) for row in rows]


class Sweep:
    """Removes sessions and used links that ended before a time, step by step; it is a `Walk`."""

    def __init__(self, before: str) -> None:
        self.removed: Counter[str] = Counter()
        self._before = before
        self._tables = list(_KEPT)

    def step(self, conn: Session, limit: int) -> bool:
        """Remove some of one table."""
        table = self._tables[0]
        removed = conn.execute(
            f"DELETE FROM {table} WHERE digest IN (SELECT digest FROM {table} WHERE expires_at < ? LIMIT ?)",
            (self._before, limit),
        ).rowcount
        self.removed[table] += removed
        if removed < limit:
            del self._tables[0]
        return bool(self._tables)
