"""Disables webhooks by the service itself, and tells so. Call functions that write inside a transaction.

`results.record` keeps since when a webhook has been down, and enabling it begins anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ... import clock
from ...model import RESERVED_PROJECT, SERVICE
from ...rules.signing import host
from ..engine import DISABLED_AT_ONCE, Disabled, HealthChange
from . import audit
from .health import tell, webhook_named
from .revisions import bump_revision
from .session import Row, Session

# Milliseconds from the first failure to the newest one; the expression and the conditions are those of the index.
_DOWN = f"""
SELECT id, project_id, url, down_since, down_until, down_cause, failures_in_a_row, last_success_at
FROM webhooks INDEXED BY webhooks_down
WHERE down_given_up = 1 AND enabled = 1 AND deleted_at IS NULL AND project_id <> '{RESERVED_PROJECT}'
AND CAST(round((julianday(down_until) - julianday(down_since)) * 86400000) AS INTEGER) >= ? LIMIT ?
"""
_DISABLE = "UPDATE webhooks SET enabled = 0, disabled_at = ?1, updated_at = ?1, disabled_reason = ?2 WHERE id = ?3"


def disable_down(conn: Session, after: timedelta, now: datetime) -> Disabled:
    """Disable the webhooks whose failures, from the first to the newest one, last for `after` or longer; 20 at most.

    Each has its entry in the audit trail and its events in this transaction. Those of operators are never disabled.
    """
    rows = conn.execute(_DOWN, (after // timedelta(milliseconds=1), DISABLED_AT_ONCE)).fetchall()
    events: list[tuple[str, dict[str, Any]]] = []
    now_text = clock.text(now)
    for row in rows:
        since = f"nothing but failures since {row['down_since']}"
        reason = f"{since}, the last one: {row['down_cause']}"
        _disable(conn, row, reason, since, now)
        payload = {
            "webhook": webhook_named(row),
            "disabledAt": now_text,
            "failingSince": row["down_since"],
            "lastFailureAt": row["down_until"],
            "lastSuccessAt": row["last_success_at"],
            "failuresInARow": row["failures_in_a_row"],
            "cause": row["down_cause"],
        }
        events.append(("webhook.disabled", payload))
    if rows:
        bump_revision(conn)
    touched = tell(conn, events, now)
    return Disabled([HealthChange(row["id"], host(row["url"]), row["down_since"]) for row in rows], touched)


def disable_unopenable(conn: Session, webhook_id: str, reason: str, now: datetime) -> None:
    """Disable a webhook whose secret or headers cannot be opened, with its events in this transaction, unless it was before."""
    row = conn.execute(
        "SELECT id, project_id, url, last_success_at, failures_in_a_row FROM webhooks "
        "WHERE id = ? AND enabled = 1 AND deleted_at IS NULL",
        (webhook_id,),
    ).fetchone()
    if row is None:
        return
    now_text = clock.text(now)
    _disable(conn, row, reason, reason, now)
    bump_revision(conn)
    payload = {
        "webhook": webhook_named(row),
        "disabledAt": now_text,
        "lastSuccessAt": row["last_success_at"],
        "failuresInARow": row["failures_in_a_row"],
        "cause": reason,
    }
    tell(conn, [("webhook.disabled", payload)], now)


def _disable(conn: Session, row: Row, reason: str, detail: str, now: datetime) -> None:
    """Disable a webhook, with its entry in the audit trail."""
    conn.execute(_DISABLE, (clock.text(now), reason, row["id"]))
    audit.note(
        conn,
        "webhook.disabled",
        actor=SERVICE,
        now=now,
        project_id=row["project_id"],
        webhook_id=row["id"],
        detail=detail,
    )
