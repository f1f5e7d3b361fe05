"""`almirant-webhooks stats`: how the service stands, on one screen."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from typing import Any

import click

from .. import clock
from ..model import Misconfigured, Refused
from ..settings.schema import Settings
from ..storage.engine import EVERY_ROW, StorageError
from .database import NOT_KNOWN, READS, is_daemon_there, reading, reading_outbox, reads, sizes, standing
from .options import as_json, config
from .output import print_json, safe, say

VERSION = version("almirant-webhooks")


def read(settings: Settings) -> dict[str, Any]:
    """Return all numbers, in groups."""
    now = clock.now()
    with reading(settings) as conn:
        numbers_by_group: dict[str, Any] = {
            "daemon": {"running": is_daemon_there(settings), "version": VERSION},
            "deliveries": {
                **READS.stats.pending(conn, now),
                "rate_limited": sum(READS.rates.waiting(conn, None, now, EVERY_ROW).values()),
            },
            "webhooks": READS.stats.webhooks(conn),
            "last_hour": READS.stats.hours(conn, now - timedelta(hours=1)),
            "last_day": READS.stats.hours(conn, now - timedelta(days=1)),
        }
    try:
        with reading_outbox(settings) as conn:
            numbers_by_group["outbox"] = reads(settings).stats.outbox(conn, now)
    except (Misconfigured, Refused, StorageError) as error:  # of a user who is no producer, or its server is away
        say(f"note: the outbox was not looked at: {error}")
    if numbers_by_group["daemon"]["running"] is None:
        say(f"note: {NOT_KNOWN}")
    numbers_by_group["bytes"] = sizes(settings)
    if found := standing(settings):
        numbers_by_group["daemons"] = found
    return numbers_by_group


@click.command()
@as_json
@config
def stats(settings: Settings, as_json: bool) -> None:
    """Show how the service stands, on one screen."""
    numbers_by_group = read(settings)
    if as_json:
        print_json(numbers_by_group)
        return
    for group, values in numbers_by_group.items():
        parts = [f"{name.replace('_', ' ')} {_show(group, value)}" for name, value in values.items()]
        click.echo(safe(f"{group.replace('_', ' '):<11} {', '.join(parts)}"))


def _show(group: str, value: object) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "not known"}[value]
    if group == "bytes" and isinstance(value, int):
        return f"{value / 1024 / 1024:,.1f} MiB"
    return str(value)
