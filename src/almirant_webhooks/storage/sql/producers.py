"""Tokens of producers on other machines, for `POST /api/v1/events` alone; what is stored is a digest of each."""

from __future__ import annotations

import secrets
from datetime import datetime

from ... import clock
from ...model import NotFound
from ..engine import Producer, ProducerToken
from . import audit
from .rows import row_as
from .session import Session


def add(conn: Session, *, digest: str, project_id: str | None, actor: str, now: datetime) -> str:
    """Store a new token's digest; return its id."""
    token_id = f"prod_{secrets.token_hex(6)}"
    conn.execute(
        "INSERT INTO producer_tokens (id, digest, project_id, created_at) VALUES (?, ?, ?, ?)",
        (token_id, digest, project_id, clock.text(now)),
    )
    audit.note(conn, "producer_token.created", actor=actor, now=now, project_id=project_id or "", detail=token_id)
    return token_id


def find(conn: Session, digest: str) -> Producer | None:
    """Return the token that has this digest, or None."""
    row = conn.execute("SELECT id, project_id FROM producer_tokens WHERE digest = ?", (digest,)).fetchone()
    return Producer(*row) if row else None


def listed(conn: Session) -> list[ProducerToken]:
    """Return every token's id, project and creation, oldest first."""
    rows = conn.execute("SELECT id, project_id, created_at FROM producer_tokens ORDER BY created_at, id")
    return [row_as(ProducerToken, row) for row in rows]


def revoke(conn: Session, token_id: str, *, actor: str, now: datetime) -> None:
    """Remove a token: from the commit on it opens nothing."""
    row = conn.execute("DELETE FROM producer_tokens WHERE id = ? RETURNING project_id", (token_id,)).fetchone()
    if row is None:
        raise NotFound(f"There is no producer's token {token_id}.", "id")
    audit.note(conn, "producer_token.revoked", actor=actor, now=now, project_id=row[0] or "", detail=token_id)
