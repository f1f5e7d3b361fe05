"""`almirant-webhooks prune`"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

import click

from .. import clock
from ..settings.schema import Settings
from ..storage.sqlite import outbox, rejected_rows, retention
from ..storage.sqlite.connection import transaction
from .options import as_json, config, reading, writing
from .output import print_fields, print_json, say

STEP = 500
REST = 0.005  # seconds between two steps, for the daemon and for producers
SAY_EVERY = 2.0


@click.command()
@click.option("--dry-run", is_flag=True, help="Count what is too old, and remove nothing.")
@as_json
@config
def prune(settings: Settings, dry_run: bool, as_json: bool) -> None:
    """Remove now what is older than the keys of `retention` say; the daemon does so by itself in small steps."""
    kept = {"succeeded": settings.retention.succeeded, "failed": settings.retention.failed}
    now = clock.now()
    taken_before, rejected_before = clock.text(now - settings.retention.outbox), clock.text(now - kept["failed"])
    if dry_run:
        with reading(settings) as conn:
            counts = _count(conn, **kept, now=now)
        with closing(outbox.open_outbox(settings.database.path, settings.outbox.path)) as outbox_conn:
            counts["outbox"] = outbox.count_old(outbox_conn, taken_before, rejected_before)
    else:
        counts = _prune(settings, retention.Sweep(**kept, now=now))
        with closing(outbox.open_outbox(settings.database.path, settings.outbox.path)) as outbox_conn:
            counts["outbox"] = _prune_outbox(outbox_conn, taken_before, rejected_before)
    if as_json:
        print_json(counts)
    else:
        print_fields(counts)


def _count(conn: sqlite3.Connection, **kept: Any) -> dict[str, int]:
    """Count, and say how far it has come while it takes long."""
    counts: dict[str, int] = {}
    said = time.monotonic()
    for counts in retention.count(conn, **kept):
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            say(f"{counts['deliveries']} deliveries and {counts['events']} events so far.")
    return counts


def _prune(settings: Settings, sweep: retention.Sweep) -> dict[str, int]:
    said = time.monotonic()
    more = True
    while more:
        with writing(settings) as conn:
            more = sweep.step(conn, STEP)
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            say(f"{sweep.removed['deliveries']} deliveries and {sweep.removed['events']} events removed so far.")
        time.sleep(REST)
    pages = 0
    while True:
        with writing(settings) as conn:
            given = retention.give_back(conn, STEP)
        if not given:
            break
        pages += given
        time.sleep(REST)
    return {**sweep.removed, "pages_given_back": pages}


def _prune_outbox(conn: sqlite3.Connection, taken_before: str, rejected_before: str) -> int:
    removed, rejected, more = 0, rejected_rows.Sweep(rejected_before), True
    while more:
        with transaction(conn):
            gone = outbox.prune(conn, taken_before, STEP)
            more = rejected.step(conn, STEP) or gone == STEP
        removed += gone
        time.sleep(REST)
    return removed + rejected.removed.total()
