"""`almirant-webhooks audit`"""

from __future__ import annotations

import click

from ..rules.selection import AuditSelection
from ..settings.schema import Settings
from .database import READS, reading
from .options import as_json, config
from .output import print_json, print_table
from .selecting import check_entries, limit, selected_entries

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
@selected_entries
@limit
@as_json
@config
def audit(settings: Settings, selection: AuditSelection, limit: int, as_json: bool) -> None:
    """List who created, changed, disabled, deleted or resent what, and who revealed a secret; newest first."""
    with reading(settings) as conn:
        rows = READS.audit.entries(conn, selection, limit=limit)
        if not rows:
            check_entries(conn, selection)
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, rows)
