"""Webhooks that are made of what another service has. `imported_from` is what one is known by there, unique in its project."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Unpack

from ...model import WebhookValues
from . import audit, webhooks
from .session import Session


def known(conn: Session, project_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the webhooks of projects that were imported: the id of each by its project and origin."""
    rows = conn.execute(
        "SELECT project_id, imported_from, id FROM webhooks WHERE imported_from IS NOT NULL AND deleted_at IS NULL "
        "AND project_id IN (SELECT value FROM json_each(?))",
        (json.dumps(project_ids),),
    )
    return {(row[0], row[1]): row[2] for row in rows}


def counts(conn: Session, project_ids: Sequence[str]) -> dict[str, int]:
    """Return how many webhooks each of some projects has; one that has none is not in it."""
    rows = conn.execute(
        "SELECT project_id, count(*) FROM webhooks WHERE deleted_at IS NULL "
        "AND project_id IN (SELECT value FROM json_each(?)) GROUP BY project_id",
        (json.dumps(project_ids),),
    )
    return {row[0]: row[1] for row in rows}


def create(
    conn: Session,
    origin: str,
    *,
    disabled_because: str | None,
    limit: int,
    now: datetime,
    actor: str,
    **values: Unpack[WebhookValues],
) -> tuple[str, bool]:
    """Create a webhook from checked values, in a transaction; return its id, and whether it is new: no origin has two.

    With a reason it is disabled in the same transaction, before any event reaches it. Raises `Refused` if the project has
    `limit` of them already.
    """
    row = conn.execute(
        "SELECT id FROM webhooks WHERE project_id = ? AND imported_from = ? AND deleted_at IS NULL",
        (values["project_id"], origin),
    ).fetchone()
    if row is not None:
        return str(row[0]), False
    webhook = webhooks.create(conn, limit=limit, now=now, actor=actor, **values)
    conn.execute("UPDATE webhooks SET imported_from = ? WHERE id = ?", (origin, webhook.id))
    audit.note(
        conn,
        "webhook.imported",
        actor=actor,
        now=now,
        project_id=webhook.project_id,
        webhook_id=webhook.id,
        detail=origin,
    )
    if disabled_because is not None:
        webhooks.disable(conn, webhook.id, now, actor=actor, detail=disabled_because)
    return webhook.id, True
