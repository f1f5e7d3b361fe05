"""`webhook replay` and `event send-to`: kept events for a webhook that has no delivery of them."""

from __future__ import annotations

import click

from .. import clock
from ..actions import replays as actions
from ..model import Refused, WrongUsage
from ..rules.replays import ReplayCount, ReplaySelection
from ..settings.schema import Settings
from .options import as_json, config
from .output import confirm, print_json, say
from .run_action import CommandDatabase, caller, run_action
from .selecting import once

_LONGEST = 60.0  # seconds that a count may take: nobody waits beside a command
_NAMES = {"since": "--since", "until": "--until", "event": "--event"}


@click.command()
@click.argument("webhook_id")
@click.option(
    "--since", multiple=True, callback=once, metavar="TIME", help="Taken at this time or later (2h: two hours ago)."
)
@click.option("--until", multiple=True, callback=once, metavar="TIME", help="Taken before this time [default: now].")
@click.option(
    "--event", multiple=True, callback=once, metavar="PATTERN", help="Of a type or a family (work_item.*) alone."
)
@click.option("--include-cancelled", is_flag=True, help="Send cancelled deliveries again too.")
@click.option("--dry-run", is_flag=True, help="Count the events, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@config
def replay(
    settings: Settings,
    webhook_id: str,
    since: str | None,
    until: str | None,
    event: str | None,
    include_cancelled: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Send a webhook the kept events of a time that it has no delivery of, oldest first.

    They are those that it subscribes to now. They give way to what is due; `delivery resends` shows how far it is and takes
    back what is left.

    \b
    Examples:
      almirant-webhooks webhook replay wh_1f… --since 7d --dry-run
      almirant-webhooks webhook replay wh_1f… --since 2026-01-31 --event 'lead.*' --yes
    """
    now, database = clock.now(), CommandDatabase(settings)
    selection = _selection(webhook_id, since, until, event, include_cancelled=include_cancelled)
    counted = run_action(actions.count(database, caller(), selection, now=now, settings=settings, within=_LONGEST))
    words = f"{counted['events']} events to {webhook_id}"
    if counted["erased"]:
        say(f"{counted['erased']} more have no content any more, as it was erased, and are skipped.")
    _say_reach(selection, counted)
    if dry_run:
        if as_json:
            print_json(counted)
        else:
            say(f"This would send {words}; --yes does it.")
        return
    if counted["events"] and not yes:
        confirm(f"Send {words}?", f"This sends {words}; say --yes.")
    begun = run_action(
        actions.start(database, caller(), selection, now=clock.now(), settings=settings, counted=counted)
    ).id
    if as_json:
        print_json({"resend_id": begun, **counted})
    else:
        click.echo(begun)
        say(f"{words} go out; see `almirant-webhooks delivery resends {begun}`.")


def _selection(
    webhook_id: str, since: str | None, until: str | None, event: str | None, *, include_cancelled: bool
) -> ReplaySelection:
    """Return what the options select; raises `WrongUsage`."""
    try:
        return ReplaySelection.parse(
            webhook_id,
            since=since,
            until=until,
            event=event,
            include_cancelled=include_cancelled,
            names=_NAMES,
            now=clock.now(),
        )
    except Refused as refused:
        raise WrongUsage(refused.message, refused.field) from None


def _say_reach(selection: ReplaySelection, counted: ReplayCount) -> None:
    if counted["since"] > clock.text(selection.since):
        say(
            f"note: It reaches back to {counted['since']}. Deliveries of before may have been removed from the log, so "
            "nobody can tell what the webhook lacks."
        )


@click.command("send-to")
@click.argument("event_id")
@click.argument("webhook_id")
@click.option("--project", help="The project of both, as a check.")
@as_json
@config
def send_to(settings: Settings, event_id: str, webhook_id: str, project: str | None, as_json: bool) -> None:
    """Send one kept event to a webhook of its project that has no delivery of it.

    \b
    Example:
      almirant-webhooks event send-to evt_4c… wh_1f…
    """
    delivery_id = run_action(
        actions.send_to(CommandDatabase(settings), caller(), event_id, webhook_id, project_id=project, now=clock.now())
    )
    if as_json:
        print_json({"delivery_id": delivery_id})
    else:
        say(f"{delivery_id} goes out as soon as the daemon runs; see `almirant-webhooks delivery show {delivery_id}`.")
