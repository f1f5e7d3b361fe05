"""`almirant-webhooks event …`"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..actions import events as actions
from ..model import NotFound, Refused
from ..rules.replays import kept_until
from ..rules.selection import EventSelection
from ..settings.schema import Settings
from ..storage.engine import EVERY_ROW
from . import replays
from .database import READS, reading, reading_outbox, reads
from .erasing import erase
from .options import as_json, config
from .output import print_fields, print_json, print_table, safe, say
from .run_action import CommandDatabase, caller, run_action
from .selecting import check_there, limit, selected_events


@click.group()
def event() -> None:
    """Send events and ask what became of them."""


event.add_command(replays.send_to)


@event.command()
@click.option("--project", required=True, help="The project that it belongs to.")
@click.option("--type", "event_type", required=True, help="Its type, such as work_item.created.")
@click.option("--data", required=True, metavar="JSON|@FILE|-", help="The payload: JSON, a file's, or standard input's.")
@click.option("--id", "event_id", help="An own id; the same id with the same content is sent once.")
@click.option("--occurred-at", metavar="TIME", help="When it happened: 2026-01-31T09:30:00Z [default: now].")
@as_json
@config
def send(
    settings: Settings,
    project: str,
    event_type: str,
    data: str,
    event_id: str | None,
    occurred_at: str | None,
    as_json: bool,
) -> None:
    """Insert an event into the outbox, as a producer does.

    \b
    Example:
      almirant-webhooks event send --project proj_1 --type work_item.created --data '{"workItem": {"id": "wi_1"}}'
    """
    sent = run_action(
        actions.send(
            CommandDatabase(settings),
            caller(),
            settings=settings,
            project_id=project,
            event_type=event_type,
            payload=_payload(data),
            event_id=event_id,
            occurred_at=occurred_at,
        )
    )
    if sent.note:
        say(f"note: {sent.note}")
    if as_json:
        print_json({"event_id": sent.event_id})
    else:
        click.echo(sent.event_id)


def _payload(data: str) -> str:
    """Return the payload's text; a broken one is refused with the place where it breaks."""
    try:
        if data == "-":
            raw = sys.stdin.buffer.read()
        elif data.startswith("@"):
            raw = Path(data[1:]).read_bytes()
        else:
            raw = data.encode("utf-8")
        text = raw.decode("utf-8-sig").strip()
    except OSError as error:
        raise Refused(f"{data[1:] or error.filename} cannot be read: {error.strerror}.") from None
    except UnicodeError as error:
        raise Refused(f"The payload is not UTF-8: {error}.") from None
    try:
        if not isinstance(json.loads(text), dict):
            raise Refused("The payload must be a JSON object: {…}.")
    except json.JSONDecodeError as error:
        raise Refused(f"The payload is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except ValueError as error:
        raise Refused(f"The payload cannot be read: {error}.") from None
    except RecursionError:
        raise Refused("The payload is nested too deeply.") from None
    return text


@event.command("list")
@selected_events
@click.option("--rejected", is_flag=True, help="Outbox rows that cannot be sent, with their reasons, instead.")
@limit
@as_json
@config
def list_(settings: Settings, selection: EventSelection, rejected: bool, limit: int, as_json: bool) -> None:
    """List events, newest first."""
    project = selection.project_id
    if rejected and selection != EventSelection(project_id=project):
        raise click.UsageError("--rejected goes with --project and --limit alone.")
    rows: Sequence[Mapping[str, Any]]
    if rejected:
        with reading_outbox(settings) as conn:
            rows, _ = reads(settings).rejected.newest(conn, limit, project, looked_at=EVERY_ROW)
        columns = {
            "id": "ROW",
            "event_id": "EVENT",
            "project_id": "PROJECT",
            "event_type": "TYPE",
            "rejected_reason": "REASON",
        }
    else:
        with reading(settings) as reader:
            rows = READS.log.newest_events(reader, selection, limit=limit)
            if not rows:
                check_there(settings, reader, selection)
        columns = {
            "created_at": "DATE",
            "event_id": "EVENT",
            "project_id": "PROJECT",
            "event_type": "TYPE",
            "deliveries": "DELIVERIES",
            "filtered_out": "FILTERED OUT",
        }
    if as_json:
        print_json(rows)
    else:
        print_table(columns, rows)


@event.command()
@click.argument("event_id")
@click.option("--project", help="Its project, where the id is in several.")
@as_json
@config
def show(settings: Settings, event_id: str, project: str | None, as_json: bool) -> None:
    """Show an event and what became of it, webhook by webhook."""
    try:
        with reading(settings) as conn:
            shown = READS.log.event(conn, event_id, project)
    except NotFound as error:
        raise NotFound(f"{error} {_not_taken(settings, event_id)}", "id") from None
    fields = {name: value for name, value in shown.items() if name != "next_cursor"}  # every webhook is there
    fields["kept_until"] = kept_until(shown["created_at"], settings.retention.succeeded, settings.retention.bodies)
    if as_json:
        print_json(fields)
        return
    print_fields({name: value for name, value in fields.items() if name not in ("outcomes", "body")})
    click.echo()
    if shown["erased_at"]:
        click.echo(f"Its content was erased at {shown['erased_at']}.\n")
    if shown["unmatched"]:
        click.echo("Unmatched: no webhook subscribed to it when it was taken.\n")
    print_table(
        {"webhook_id": "WEBHOOK", "outcome": "OUTCOME", "delivery_id": "DELIVERY", "verdict": "VERDICT"},
        shown["outcomes"],
    )
    is_missed = any(row["webhook_id"] and not row["delivery_id"] for row in shown["outcomes"])
    if is_missed and not shown["test"] and not shown["erased_at"]:
        way = f"almirant-webhooks event send-to {safe(event_id)} WEBHOOK"
        click.echo(
            f"\nIt is kept until {fields['kept_until']} at least; send it now to a webhook without a delivery: `{way}`."
        )
    click.echo()
    click.echo(safe(shown["body"]))


event.add_command(erase)


def _not_taken(settings: Settings, event_id: str) -> str:
    """Tell from the outbox why the daemon does not have an event."""
    with reading_outbox(settings) as conn:
        row = reads(settings).outbox.waiting(conn, event_id)
    if row is None:
        return "Nor is it in the outbox: it was not inserted, rolled back, or is older than it is kept."
    if row["rejected_reason"] is not None:
        return f"Its row {row['id']} in the outbox was rejected: {row['rejected_reason']}."
    if row["fanned_out_at"] is not None:
        return f"Its row {row['id']} in the outbox was taken at {row['fanned_out_at']}; it is older than it is kept."
    return f"Its row {row['id']} in the outbox was not taken yet. Does the daemon run?"
