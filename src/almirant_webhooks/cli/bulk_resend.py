"""Resending many deliveries at once, as `delivery resend` and `delivery resends` do; replays are shown and cancelled here too."""

from __future__ import annotations

import click

from .. import clock
from ..actions import resends as actions
from ..rules.selection import Selection
from ..settings.schema import Settings
from .database import READS, reading
from .output import confirm, print_fields, print_json, print_table, say
from .run_action import CommandDatabase, caller, run_action
from .selecting import check_there

_COLUMNS = {
    "created_at": "DATE",
    "id": "ID",
    "kind": "KIND",
    "state": "STATE",
    "matched": "MATCHED",
    "requested": "REQUESTED",
    "waiting": "WAITING",
    "succeeded": "SUCCEEDED",
    "actor": "ACTOR",
}


def resend(settings: Settings, selection: Selection, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Count what is selected, ask, and begin; raises `Refused` when nothing is."""
    database = CommandDatabase(settings)
    counts = run_action(actions.count_many(database, caller(), selection))
    if not counts:
        with reading(settings) as conn:
            check_there(settings, conn, selection)
    counted = actions.Counted(counts, ())
    total = counted.total
    words = f"{total} deliveries of {len(counts)} webhooks"
    if dry_run:
        if as_json:
            print_json({"deliveries": total, "webhooks": counts})
        else:
            say(f"{words} would be sent again; --yes does it.")
        return
    if counts and not yes:
        confirm(f"Send {words} again?", f"This sends {words} again; say --yes.")
    begun = run_action(actions.resend_many(database, caller(), selection, now=clock.now(), counted=counted)).id
    if as_json:
        print_json({"resend_id": begun, "deliveries": total, "webhooks": counts})
    else:
        click.echo(begun)
        say(f"{words} are sent again; see `almirant-webhooks delivery resends {begun}`.")


def cancel(settings: Settings, resend_id: str) -> None:
    """Take back what is left of a resend."""
    run_action(actions.cancel_many(CommandDatabase(settings), caller(), resend_id, now=clock.now()))


def show(settings: Settings, resend_id: str | None, *, limit: int, as_json: bool) -> None:
    """Print one resend with its progress, or the newest."""
    with reading(settings) as conn:
        shown = [READS.resends.get(conn, resend_id)] if resend_id is not None else READS.resends.find(conn, limit=limit)
    if as_json:
        print_json(shown[0] if resend_id is not None else shown)
    elif resend_id is None:
        print_table(_COLUMNS, shown)
    else:
        fields = {name: value for name, value in shown[0].items() if value is not None}
        chosen = ", ".join(f"{name} {value}" for name, value in shown[0]["filters"].items())
        print_fields({**fields, "filters": chosen})
