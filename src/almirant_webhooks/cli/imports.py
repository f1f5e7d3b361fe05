"""`almirant-webhooks import`: webhooks of what another service has."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import click

from .. import clock
from ..actions import imports as actions
from ..actions.imports import Report, Row, Verdict, Wanted
from ..model import Refused, WrongUsage
from ..rules.imports import SOURCES, Choices
from ..rules.imports.document import MAX_BYTES, read
from ..settings.schema import Settings
from .options import as_json, config
from .output import print_json, safe, say
from .run_action import CommandDatabase, caller, run_action

_WORDS = {
    Verdict.CREATE: ("would be made", "made"),
    Verdict.EXISTS: ("there already, and left as it is", "there already, and left as it is"),
    Verdict.REFUSED: ("refused", "refused"),
    Verdict.SKIPPED: ("skipped", "skipped"),
}
_SHOWN = 3  # origins of what many have in common


@click.command("import")
@click.argument("source", type=click.Choice(list(SOURCES)))
@click.argument("file", metavar="FILE|-")
@click.option("--project", help="The project of all of them [default: by their application, owner or tenant].")
@click.option("--rename", "renames", multiple=True, metavar="OLD=NEW", help="An event type's name here. Repeatable.")
@click.option("--envelope", is_flag=True, help="Send our own body, with the payload as data, not the payload alone.")
@click.option("--new-secrets", is_flag=True, help="Give a new secret to those that have none that can be kept.")
@click.option("--disabled", is_flag=True, help="Make all of them disabled, to be enabled one after the other.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing; so it is without --yes.")
@click.option("--yes", is_flag=True, help="Do it.")
@as_json
@config
def import_(
    settings: Settings,
    source: str,
    file: str,
    project: str | None,
    renames: tuple[str, ...],
    envelope: bool,
    new_secrets: bool,
    disabled: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make webhooks of what Svix, Convoy or Outpost has: endpoints, secrets, filters, headers.

    FILE is put together of what their APIs answer; docs/moving.md says how. Nothing is done without --yes. What was imported
    before is left as it is, so a second run makes nothing twice.

    \b
    Examples:
      almirant-webhooks import svix svix.json
      almirant-webhooks import convoy convoy.json --project proj_1 --rename invoice.paid=lead.updated --yes
    """
    if dry_run and yes:
        raise WrongUsage("Give --dry-run or --yes, not both.", "dry_run")
    plan = SOURCES[source](read(_content(file)), Choices(project, _renamed(renames), envelope))
    database, wanted = CommandDatabase(settings), Wanted(new_secrets, disabled)
    if yes:
        report = run_action(actions.apply(database, caller(), plan, wanted, settings=settings, now=clock.now()))
    else:
        report = run_action(actions.look(database, caller(), plan, wanted, settings=settings))
    if as_json:
        print_json({"done": yes, **_fields(report)})
    else:
        _show(report, settings, done=yes)
    if yes and any(row.verdict is Verdict.REFUSED for row in report.rows):
        raise click.exceptions.Exit(1)


def _content(place: str) -> bytes:
    """Return a file's bytes, or those of standard input."""
    try:
        if place == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with Path(place).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Refused(f"{place} cannot be read: {error.strerror}.", "file") from None
    except ValueError:  # a NUL in the name
        raise Refused(f"{place!r} is no name of a file.", "file") from None


def _renamed(renames: tuple[str, ...]) -> dict[str, str]:
    pairs = [rename.partition("=") for rename in renames]
    for old, equals, new in pairs:
        if not (old and equals and new):
            raise WrongUsage("--rename has the form OLD=NEW, as --rename task.moved=work_item.moved.", "rename")
    return {old: new for old, _, new in pairs}


def _fields(report: Report) -> dict[str, object]:
    return {
        "webhooks": [row._asdict() for row in report.rows],
        "missing_event_types": report.extra_types,
        "impossible_event_types": report.no_types,
    }


def _show(report: Report, settings: Settings, *, done: bool) -> None:
    for row in report.rows:
        verdict = "made" if done and row.verdict is Verdict.CREATE else row.verdict
        state = ", disabled" if row.verdict is Verdict.CREATE and not row.enabled else ""
        words = " ".join(
            filter(
                None, (row.webhook_id, row.project_id and f"project {row.project_id}", row.url, ", ".join(row.events))
            )
        )
        click.echo(safe(f"{verdict}{state}: {row.origin} {words}".rstrip()))
        for reason in row.reasons:
            click.echo(
                safe(f"    {row.place}: {reason}" if row.verdict is not Verdict.CREATE else f"    disabled: {reason}")
            )
    made = [row for row in report.rows if row.verdict is Verdict.CREATE]
    _show_common("Has no equal here", [(text, row) for row in made for text in row.lost])
    _show_common("What a receiver has to change", [(row.receiver, row) for row in made if row.receiver])
    if report.extra_types:
        types = json.dumps([*settings.events.extra_types, *report.extra_types], ensure_ascii=False)
        say(safe(f"Event types that are not in the catalogue; in the configuration: events.extra_types = {types}"))
    if report.no_types:
        say(safe(f"Names that no event type can have here; say --rename OLD=NEW: {', '.join(report.no_types)}"))
    counts = Counter(row.verdict for row in report.rows)
    say("; ".join(f"{counts[verdict]} {words[done]}" for verdict, words in _WORDS.items()) + ".")
    if not done:
        say("Nothing was done; --yes does it.")


def _show_common(heading: str, found: list[tuple[str, Row]]) -> None:
    """Print each text once, with whom it is about."""
    about: dict[str, list[str]] = {}
    for text, row in found:
        about.setdefault(text, []).append(row.origin)
    if about:
        click.echo(f"\n{heading}:")
    for text, origins in about.items():
        shown = ", ".join(origins[:_SHOWN])
        more = f" and {len(origins) - _SHOWN} more" if len(origins) > _SHOWN else ""
        click.echo(safe(f"  {shown}{more}: {text}"))
