"""The audit trail: who did what to which webhook or delivery, written in the transaction that did it."""

from __future__ import annotations

from datetime import datetime

from ... import clock
from ...rules.selection import AuditSelection
from ..records import AuditEntry
from .rows import row_as
from .session import Session

EVERYTHING = AuditSelection()


def note(
    conn: Session,
    action: str,
    *,
    actor: str,
    now: datetime,
    project_id: str,
    webhook_id: str | None = None,
    delivery_id: str | None = None,
    detail: str = "",
) -> None:
    """Write an entry for an action of `rules.audited`, in a transaction. `detail` never holds a secret, payload or URL."""
    conn.execute(
        "INSERT INTO audit (at, actor, action, project_id, webhook_id, delivery_id, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (clock.text(now), actor, action, project_id, webhook_id, delivery_id, detail),
    )


def entries(
    conn: Session, selection: AuditSelection = EVERYTHING, *, before: int | None = None, limit: int = 50
) -> list[AuditEntry]:
    """Return entries, newest first; only those older than the entry with the `seq` `before`."""
    params: dict[str, object] = {
        "project_id = ?": selection.project_id,
        "webhook_id = ?": selection.webhook_id,
        "action = ?": selection.action,
        "at >= ?": selection.since and clock.text(selection.since),
        "at < ?": selection.until and clock.text(selection.until),
        "seq < ?": before,
    }
    conditions = {condition: value for condition, value in params.items() if value is not None}
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = conn.execute(f"SELECT * FROM audit {where} ORDER BY seq DESC LIMIT ?", (*conditions.values(), limit))
    return [row_as(AuditEntry, row) for row in rows]
