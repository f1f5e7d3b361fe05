"""`almirant-webhooks audit`"""

from __future__ import annotations

from datetime import datetime

import click

from ..settings.schema import Settings
from .database import READS, reading
from .options import as_json, config
from .output import print_json, print_table
from .selecting import Time, limit

_COLUMNS = {
    "at": "DATE",
    "actor": "ACTOR",
    "action": "ACTION",
    "project_id": "PROJECT",
    "webhook_id": "WEBHOOK",
    "delivery_id": "DELIVERY",
    "detail": "DETAIL",
}


@click.command()
@click.option("--project", "project_id", help="Of this project alone.")
@click.option("--webhook", "webhook_id", help="Of this webhook alone, a deleted one too.")
@click.option("--action", help="This action alone: secret.revealed, webhook.deleted, …")
@click.option("--since", type=Time(), help="At this time or later (2h: two hours ago).")
@click.option("--until", type=Time(), help="Before this time.")
@limit
@as_json
@config
def audit(
    settings: Settings,
    project_id: str | None,
    webhook_id: str | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List who created, changed, disabled, deleted or resent what, and who revealed a secret; newest first."""
    with reading(settings) as conn:
        rows = READS.audit.entries(
            conn,
            project_id=project_id,
            webhook_id=webhook_id,
            action=action,
            since=since,
            until=until,
            limit=limit,
        )
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, rows)
