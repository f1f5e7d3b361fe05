"""`almirant-webhooks delivery …`"""

from __future__ import annotations

import click

from .. import clock
from ..actions import resends as actions
from ..rules import outcomes
from ..rules.selection import Selection
from ..settings.schema import Settings
from ..storage.records import Attempt
from . import bulk_resend
from .database import READS, reading
from .options import as_json, config
from .output import print_fields, print_json, print_table, safe, safe_lines, say
from .run_action import CommandDatabase, caller, run_action
from .selecting import check_there, limit, selected, selected_with_text
from .waiting import wait_for_attempt, words_of

_COLUMNS = {
    "created_at": "DATE",
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
@selected_with_text
@limit
@as_json
@config
def list_(settings: Settings, as_json: bool, limit: int, selection: Selection) -> None:
    """List deliveries, newest first.

    \b
    Examples:
      almirant-webhooks delivery list --state failed --since 12h
      almirant-webhooks delivery list --status 5xx --json
    """
    with reading(settings) as conn:
        rows = READS.search.newest(conn, selection, limit=limit)
        if not rows:
            check_there(settings, conn, selection)
    if as_json:
        print_json(rows)
    else:
        print_table(_COLUMNS, [{**row, "state": "held" if row["held"] else row["state"]} for row in rows])


@delivery.command()
@click.argument("delivery_id")
@as_json
@config
def show(settings: Settings, delivery_id: str, as_json: bool) -> None:
    """Show a delivery: its attempts, of many the newest 50, with their headers, and the receiver's answers."""
    with reading(settings) as conn:
        shown = READS.log.delivery(conn, delivery_id)
        older = None
        if outcomes.lacks_success(shown):
            older = READS.log.older_success(conn, delivery_id, shown["attempt_list"][0]["number"])
    if as_json:
        print_json(shown)
        return
    apart = ("attempt_list", "body", "waits_for")
    fields = {name: value for name, value in shown.items() if value is not None and name not in apart}
    if shown["waits_for"] is not None:
        fields["waits_for"] = words_of(shown["waits_for"], settings)
    sentences = outcomes.outcome(shown, len(settings.delivery.retry_schedule), older)
    print_fields({"outcome": " ".join(sentences), **fields})
    if shown["body"] is not None:
        click.echo(f"\nBody\n{safe(shown['body'])}")
    if (left_out := outcomes.left_out(shown)) is not None:
        click.echo(f"\nAttempts\n{left_out}")
    for attempt in shown["attempt_list"]:
        _print_attempt(attempt)


def _print_attempt(attempt: Attempt) -> None:
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
        kinds = [attempt["response_body_note"], None if attempt["response_body_is_text"] else "not text"]
        kind = f" ({'; '.join(filter(None, kinds))})" if any(kinds) else ""
        cut = "\n  (cut here)" if attempt["body_cut"] else ""
        click.echo(f"  Answer{safe(kind)}:\n{safe_lines(attempt['response_body'])}{cut}")


@delivery.command()
@click.argument("delivery_id", required=False)
@click.option("--wait", is_flag=True, help="Wait for the answer (the daemon must run); exit 1 unless it is a success.")
@selected
@click.option("--dry-run", is_flag=True, help="Count what is selected, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before many are resent.")
@as_json
@config
def resend(
    settings: Settings,
    delivery_id: str | None,
    wait: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    selection: Selection,
) -> None:
    """Make one more attempt as soon as none is in flight: of one delivery, or of all that are selected.

    Many give way to fresh events. `delivery resends` shows how far they are and takes back what is left.

    \b
    Examples:
      almirant-webhooks delivery resend dlv_019b…
      almirant-webhooks delivery resend --webhook wh_1f… --state failed --since 12h --dry-run
    """
    selects = selection != Selection()
    if (delivery_id is None) != selects or (delivery_id and dry_run) or (wait and not delivery_id):
        raise click.UsageError("Give the id of one delivery (with --wait), or a selection (with --dry-run or --yes).")
    if delivery_id is None:
        bulk_resend.resend(settings, selection, dry_run=dry_run, yes=yes, as_json=as_json)
        return
    asked = bool(run_action(actions.resend(CommandDatabase(settings), caller(), [delivery_id], now=clock.now())))
    if not asked:
        say(f"A resend of {delivery_id} waits already; nothing more was asked.")
    if wait:
        wait_for_attempt(settings, delivery_id, as_json=as_json)
    elif as_json:
        print_json({"delivery_id": delivery_id, "asked": asked})
    elif asked:
        say(f"{delivery_id} is sent again as soon as the daemon runs.")


@delivery.command()
@click.argument("resend_id", required=False)
@click.option("--cancel", is_flag=True, help="Resend nothing more of it.")
@limit
@as_json
@config
def resends(settings: Settings, resend_id: str | None, cancel: bool, limit: int, as_json: bool) -> None:
    """Show the resends of many deliveries at once and how far each is, or cancel one."""
    if cancel and resend_id is None:
        raise click.UsageError("--cancel goes with the id of a resend.")
    if cancel:
        bulk_resend.cancel(settings, str(resend_id))
    bulk_resend.show(settings, resend_id, limit=limit, as_json=as_json)
