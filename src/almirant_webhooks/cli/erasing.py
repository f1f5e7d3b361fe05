"""`almirant-webhooks event erase`"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import click

from .. import clock
from ..actions import erasing as actions
from ..rules.erasing import NOT_OURS
from ..settings.schema import Settings
from .cleaning import wait_until_clean
from .options import as_json, config
from .output import confirm, print_fields, print_json
from .run_action import CommandDatabase, caller, run_action
from .selecting import Time

REST = 0.005  # seconds between two steps, for the daemon and for producers


@click.command()
@click.argument("event_id", required=False)
@click.option("--search", "text", metavar="TEXT", help="All events with this text in their bodies, in place of one id.")
@click.option("--project", help="Of this project alone.")
@click.option("--since", type=Time(), help="With --search: taken at this time or later (2h: two hours ago).")
@click.option("--dry-run", is_flag=True, help="Count, and erase nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@config
def erase(
    settings: Settings,
    event_id: str | None,
    text: str | None,
    project: str | None,
    since: datetime | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase the content of events for good: bodies, answers and payloads; the record of what happened stays.

    What waits of them is cancelled. The answer lists what this does not reach.
    """
    if (event_id is None) == (text is None):
        raise click.UsageError("Name an event's id, or --search TEXT.")
    if since is not None and text is None:
        raise click.UsageError("--since goes with --search.")
    if dry_run and yes:
        raise click.UsageError("Say --dry-run or --yes.")
    database = CommandDatabase(settings)
    counts = Counter[str]()
    for found in _all(database, event_id, text, project, since):
        counts.update(found.counts)
    if dry_run or not sum(counts.values()):
        _answer({**_COUNTED, **counts}, as_json=as_json)
        return
    words = (
        f"{counts['events']} events with {counts['deliveries']} deliveries and {counts['rejected_rows']} rejected rows"
    )
    if not yes:
        confirm(f"Erase the content of {words} for good?", f"This erases the content of {words} for good; say --yes.")
    erased = Counter[str]()
    how = "by id" if text is None else "by a search"
    for found in _all(database, event_id, text, project, since):
        erasing = actions.Erasing(database, caller(), found, how=how, now=clock.now())
        while found.events or found.rejected:
            if not run_action(erasing.step()):
                break
            time.sleep(REST)
        erased.update(erasing.erased)
    wait_until_clean(settings, database)
    _answer({**_ERASED, **erased, "not_reached": list(NOT_OURS)}, as_json=as_json)


_COUNTED = {"events": 0, "deliveries": 0, "rejected_rows": 0}
_ERASED = {"events": 0, "deliveries": 0, "outbox_rows": 0}


def _all(
    database: CommandDatabase, event_id: str | None, text: str | None, project: str | None, since: datetime | None
) -> Iterator[actions.Found]:
    """Yield what is found, look by look."""
    if text is None:
        yield run_action(actions.find(database, caller(), event_id or "", project))
        return
    cursor = None
    while True:
        found = run_action(actions.search(database, caller(), text, project_id=project, since=since, cursor=cursor))
        yield found
        if found.cursor is None:
            return
        cursor = found.cursor


def _answer(fields: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    print_fields({name: value for name, value in fields.items() if name != "not_reached"})
    if "not_reached" in fields:
        click.echo("\nNot reached by this, and yours to see to:")
        for line in NOT_OURS:
            click.echo(f"- {line}")
