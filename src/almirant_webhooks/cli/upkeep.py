"""`almirant-webhooks prune`"""

from __future__ import annotations

import time
from datetime import datetime

import click

from .. import clock
from ..actions import upkeep as actions
from ..settings.schema import Settings
from .database import READS, opened_outbox, reading
from .options import as_json, config
from .output import print_fields, print_json, say
from .run_action import CommandDatabase, run_action

REST = 0.005  # seconds between two steps, for the daemon and for producers
SAY_EVERY = 2.0


@click.command()
@click.option("--dry-run", is_flag=True, help="Count what is too old, and remove nothing.")
@as_json
@config
def prune(settings: Settings, dry_run: bool, as_json: bool) -> None:
    """Remove now what is older than the keys of `retention` say; the daemon does so by itself in small steps."""
    now = clock.now()
    counts = _count(settings, now) if dry_run else _prune(settings, now)
    if as_json:
        print_json(counts)
    else:
        print_fields(counts)


def _count(settings: Settings, now: datetime) -> dict[str, int]:
    """Count, and say how far it has come while it takes long."""
    keep = {"succeeded": settings.retention.succeeded, "failed": settings.retention.failed}
    counts: dict[str, int] = {}
    reported_at = time.monotonic()
    with reading(settings) as conn:
        for counts in READS.retention.count(conn, **keep, now=now):
            if time.monotonic() - reported_at > SAY_EVERY:
                reported_at = time.monotonic()
                say(f"{counts['deliveries']} deliveries and {counts['events']} events so far.")
    with opened_outbox(settings) as conn:
        counts["outbox"] = READS.outbox.count_old(conn, *actions.ends(settings, now))
    return counts


def _prune(settings: Settings, now: datetime) -> dict[str, int]:
    """Remove step by step, and say how far it has come while it takes long."""
    pruning = actions.Pruning(CommandDatabase(settings), settings, now)
    reported_at = time.monotonic()
    while run_action(pruning.step()):
        if time.monotonic() - reported_at > SAY_EVERY:
            reported_at = time.monotonic()
            removed = pruning.removed
            say(f"{removed['deliveries']} deliveries and {removed['events']} events removed so far.")
        time.sleep(REST)
    return pruning.removed
