"""`almirant-webhooks delivery …`"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from .. import clock
from ..db import deliveries, log
from ..model import State
from ..settings import Settings
from .options import Time, actor, as_json, config, reading, writing
from .output import print_fields, print_json, print_table, safe, safe_lines, say
from .waiting import wait_for_attempt

_COLUMNS = {
    "date": "DATE",
    "event_type": "EVENT",
    "status": "STATUS",
    "duration_ms": "MS",
    "state": "STATE",
    "attempts": "ATTEMPTS",
    "next_attempt_at": "NEXT ATTEMPT",
    "delivery_id": "DELIVERY",
}


@click.group()
def delivery() -> None:
    """Read the delivery log and resend."""


@delivery.command("list")
@click.option("--project", "project_id", help="Of this project alone.")
@click.option("--webhook", "webhook_id", help="Of this webhook alone.")
@click.option("--state", type=click.Choice([*(state.value for state in State), "held"]), help="In this state alone.")
@click.option("--status", help="A code (500), a class (5xx) or a word (timeout).")
@click.option("--type", "event_type", help="Of this event type alone.")
@click.option("--event", "event_id", help="Of this event alone.")
@click.option("--cause", help="Whose last attempt's cause contains this.")
@click.option("--since", type=Time(), help="At this time or later (2h: two hours ago).")
@click.option("--until", type=Time(), help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@as_json
@config
def list_(
    settings: Settings, as_json: bool, since: datetime | None, until: datetime | None, limit: int, **filters: str | None
) -> None:
    """List deliveries, newest first.

    \b
    Examples:
      almirant-webhooks delivery list --state failed --since 12h
      almirant-webhooks delivery list --status 5xx --json
    """
    if filters["status"] is not None:
        filters["status"] = filters["status"].replace("_", " ")
    with reading(settings) as conn:
        rows = log.deliveries(conn, since=since, until=until, limit=limit, **filters)
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, [{**row, "state": "held" if row["held"] else row["state"]} for row in rows])


@delivery.command()
@click.argument("delivery_id")
@as_json
@config
def show(settings: Settings, delivery_id: str, as_json: bool) -> None:
    """Show a delivery: every attempt with its headers, and the receiver's answers."""
    with reading(settings) as conn:
        found = log.delivery(conn, delivery_id)
    if as_json:
        print_json(found)
        return
    attempts, body = found.pop("attempt_list"), found.pop("body")
    print_fields({name: value for name, value in found.items() if value is not None})
    click.echo(f"\nBody\n{safe(body)}")
    for attempt in attempts:
        _print_attempt(attempt)


def _print_attempt(attempt: dict[str, Any]) -> None:
    took = f", {attempt['duration_ms']} ms" if attempt["duration_ms"] is not None else ""
    status = attempt["status"] or "in flight"
    cause = f" ({attempt['cause']})" if attempt["cause"] else ""
    click.echo(
        f"\nAttempt {attempt['number']}, {attempt['trigger']}, {attempt['started_at']}: {safe(status + cause)}{took}"
    )
    click.echo(f"  POST {safe(attempt['url'])}")
    for name, value in attempt["request_headers"]:
        click.echo(f"  > {safe(name)}: {safe(value)}")
    for name, value in attempt["response_headers"]:
        click.echo(f"  < {safe(name)}: {safe(value)}")
    if attempt["response_body"]:
        kind = "" if attempt["response_body_is_text"] else " (not text)"
        cut = "\n  (cut here)" if attempt["body_cut"] else ""
        click.echo(f"  Answer{kind}:\n{safe_lines(attempt['response_body'])}{cut}")


@delivery.command()
@click.argument("delivery_id")
@click.option("--wait", is_flag=True, help="Wait for the answer (the daemon must run); exit 1 unless it is a success.")
@as_json
@config
def resend(settings: Settings, delivery_id: str, wait: bool, as_json: bool) -> None:
    """Make one more attempt as soon as none is in flight, whatever the delivery's state."""
    with writing(settings) as conn:
        asked = deliveries.request_resend(conn, delivery_id, clock.now(), actor=actor())
    if not asked:
        say(f"A resend of {delivery_id} waits already; nothing more was asked.")
    if wait:
        wait_for_attempt(settings, delivery_id, as_json=as_json)
    elif as_json:
        print_json({"delivery_id": delivery_id, "asked": asked})
    elif asked:
        say(f"{delivery_id} is sent again as soon as the daemon runs.")
