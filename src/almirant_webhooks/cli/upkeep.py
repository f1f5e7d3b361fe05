"""`almirant-webhooks prune`"""

from __future__ import annotations

import time
from datetime import datetime

import click

from .. import clock
from ..actions import upkeep as actions
from ..settings.schema import Settings
from .cleaning import wait_until_clean
from .database import READS, opened_outbox, reading, reads
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
    """Remove now what is older than the keys of `retention` say, and erase content that is older than `retention.bodies`.

    The daemon does so by itself in small steps.
    """
    now = clock.now()
    counts = _count(settings, now) if dry_run else _prune(settings, now)
    if as_json:
        print_json(counts)
    else:
        print_fields(counts)


def _count(settings: Settings, now: datetime) -> dict[str, int]:
    """Count, and say how far it has come while it takes long."""
    kept = settings.retention
    counts: dict[str, int] = {}
    reported_at = time.monotonic()
    with reading(settings) as conn:
        for counts in READS.retention.count(
            conn, succeeded=kept.succeeded, failed=kept.failed, bodies=kept.bodies, now=now
        ):
            if time.monotonic() - reported_at > SAY_EVERY:
                reported_at = time.monotonic()
                say(f"{counts['deliveries']} deliveries and {counts['events']} events so far.")
    with opened_outbox(settings) as conn:
        counts["outbox"] = reads(settings).outbox.count_old(conn, *actions.ends(settings, now))
    if kept.bodies is not None:
        counts["payloads"] = run_action(actions.count_payloads(CommandDatabase(settings), kept.bodies, now))
    return counts


def _prune(settings: Settings, now: datetime) -> dict[str, int]:
    """Remove step by step, and say how far it has come while it takes long."""
    database = CommandDatabase(settings)
    pruning = actions.Pruning(database, settings, now)
    reported_at = time.monotonic()
    while run_action(pruning.step()):
        if time.monotonic() - reported_at > SAY_EVERY:
            reported_at = time.monotonic()
            removed = pruning.removed
            say(f"{removed['deliveries']} deliveries and {removed['events']} events removed so far.")
        time.sleep(REST)
    removed = pruning.removed
    if removed.get("bodies") or removed.get("payloads"):
        wait_until_clean(settings, database)
    return removed
