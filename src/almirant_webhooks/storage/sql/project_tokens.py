"""A project's own API tokens, for what its admin may do; what is stored is a digest of each."""

from __future__ import annotations

import secrets
from datetime import datetime

from ... import clock
from ...model import Conflict, NotFound, Refused
from ...rules.texts import Text
from ..engine import MOST_TOKENS, ProjectToken, TokenOwner
from . import audit
from .rows import row_as
from .session import Row, Session


def add(conn: Session, *, digest: str, project_id: str, name: str | None, actor: str, now: datetime) -> ProjectToken:
    """Store a new token's digest; without a name it gets one."""
    count = conn.execute(
        "SELECT count(*) FROM (SELECT 1 FROM project_tokens WHERE project_id = ? LIMIT ?)", (project_id, MOST_TOKENS)
    ).fetchone()[0]
    if count >= MOST_TOKENS:
        raise Refused(
            Text(
                "A project has {most_tokens} API tokens at most: revoke one that is no longer used.",
                most_tokens=MOST_TOKENS,
            )
        )
    mark = secrets.token_hex(6)
    row = ProjectToken(
        id=f"ptk_{mark}",
        project_id=project_id,
        name=name or f"token-{mark[:6]}",
        created_at=clock.text(now),
        created_by=actor,
    )
    if _find_by_name(conn, project_id, row["name"]) is not None:
        raise Conflict(
            Text("The project has an API token named {name} already; choose another name.", name=row["name"]), "name"
        )
    conn.execute(
        "INSERT INTO project_tokens (id, digest, project_id, name, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?)",
        (row["id"], digest, project_id, row["name"], row["created_at"], actor),
    )
    audit.note(conn, "project_token.created", actor=actor, now=now, project_id=project_id, detail=row["name"])
    return row


def find(conn: Session, digest: str) -> TokenOwner | None:
    """Return whose token has this digest, or None."""
    row = conn.execute("SELECT id, project_id, name FROM project_tokens WHERE digest = ?", (digest,)).fetchone()
    return TokenOwner(*row) if row else None


def get(conn: Session, token_id: str) -> ProjectToken:
    """Return one."""
    row = conn.execute("SELECT * FROM project_tokens WHERE id = ?", (token_id,)).fetchone()
    if row is None:
        raise NotFound(Text("There is no API token {token_id}.", token_id=token_id), "id")
    return row_as(ProjectToken, row)


def named(conn: Session, project_id: str, name: str) -> ProjectToken:
    """Return the token of a project with a name."""
    row = _find_by_name(conn, project_id, name)
    if row is None:
        raise NotFound(
            Text("The project {project_id} has no API token named {name}.", project_id=project_id, name=name), "name"
        )
    return row_as(ProjectToken, row)


def listed(conn: Session, project_id: str | None, limit: int, after: str = "") -> list[ProjectToken]:
    """Return tokens of a project or of all, by their ids, those behind an id."""
    where = "project_id = ? AND" if project_id is not None else ""
    params = (*((project_id,) if project_id is not None else ()), after, limit)
    rows = conn.execute(f"SELECT * FROM project_tokens WHERE {where} id > ? ORDER BY id LIMIT ?", params)
    return [row_as(ProjectToken, row) for row in rows]


def revoke(conn: Session, token_id: str, *, actor: str, now: datetime) -> None:
    """Remove a token: from the commit on it opens nothing."""
    row = get(conn, token_id)
    conn.execute("DELETE FROM project_tokens WHERE id = ?", (token_id,))
    audit.note(conn, "project_token.revoked", actor=actor, now=now, project_id=row["project_id"], detail=row["name"])


def _find_by_name(conn: Session, project_id: str, name: str) -> Row | None:
    row: Row | None = conn.execute(
        "SELECT * FROM project_tokens WHERE project_id = ? AND name = ?", (project_id, name)
    ).fetchone()
    return row
