"""Options that say which deliveries or events are meant, and how many of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from .. import clock
from ..actions.unlisted import refuse_unlisted, unknown_webhook
from ..model import NotFound, Refused
from ..rules import values
from ..rules.selection import STATES, AuditSelection, EventSelection, Selection
from ..settings.schema import Settings
from ..storage.engine import Session
from .database import READS

MAX_LIMIT = 100_000
Command = Callable[..., Any]

_PROJECT = ("--project", "project_id", "Of this project alone.")
_TYPE = ("--type", "event_type", "Of this event type alone, or of a family (lead.*).")
_TEXT = ("--text", "text", "With this text in its body, in any case and spelling: an order's number, say.")
_TEST = ("--test", "test", "Tests alone (true), or all but tests (false).")
_DELIVERIES = (
    _PROJECT,
    ("--webhook", "webhook_id", "Of this webhook alone."),
    ("--state", "state", f"In this state alone: {', '.join(STATES)}."),
    ("--status", "status", "A code (500), a class (5xx) or a word (timeout)."),
    _TYPE,
    ("--event", "event_id", "Of this event alone."),
    ("--cause", "cause", "With an attempt whose cause contains this."),
    ("--since", "since", "Made at this time or later (2h: two hours ago)."),
    ("--until", "until", "Made before this time."),
)
_EVENTS = (
    _PROJECT,
    _TYPE,
    ("--since", "since", "Taken at this time or later (2h: two hours ago)."),
    ("--until", "until", "Taken before this time."),
    _TEXT,
)
_ENTRIES = (
    _PROJECT,
    ("--webhook", "webhook_id", "Of this webhook alone, a deleted one too."),
    ("--action", "action", "This action alone: secret.revealed, webhook.deleted, …"),
    ("--since", "since", "At this time or later (2h: two hours ago)."),
    ("--until", "until", "Before this time."),
)


@contextmanager
def wrong_usage() -> Iterator[None]:
    """Turn `Refused` into wrong usage, exit 2, in the same words."""
    try:
        yield
    except Refused as refused:
        raise click.UsageError(refused.message) from None


def once(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str | None:
    """Return the value of an option that is given once at most, None where it is left out."""
    if len(value) > 1:
        raise click.UsageError(f"{param.opts[0]} is given more than once.", ctx)
    return value[0] if value else None


def _states(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete a state in the shell."""
    return [state for state in STATES if state.startswith(incomplete)] if param.name == "state" else []


def _with_options(command: Command, options: tuple[tuple[str, str, str], ...]) -> Command:
    for flag, name, text in reversed(options):
        metavar = "TIME" if name in ("since", "until") else "TEXT"
        command = click.option(
            flag, name, multiple=True, callback=once, shell_complete=_states, metavar=metavar, help=text
        )(command)
    return command


def _selecting(
    command: Command, kind: type[Selection | EventSelection | AuditSelection], options: tuple[tuple[str, str, str], ...]
) -> Command:
    names = {name: flag for flag, name, _ in options}

    @functools.wraps(command)
    def run(**params: Any) -> Any:
        with wrong_usage():
            selection = kind.parse({name: params.pop(name) for name in names}, clock.now(), names)
        return command(selection=selection, **params)

    return _with_options(run, options)


def selected(command: Command) -> Command:
    """Give a command the options that select deliveries, and the argument `selection`."""
    return _selecting(command, Selection, _DELIVERIES)


def selected_with_text(command: Command) -> Command:
    """Give a command these options, `--text` and `--test`."""
    return _selecting(command, Selection, (*_DELIVERIES, _TEXT, _TEST))


def selected_events(command: Command) -> Command:
    """Give a command the options that select events, and the argument `selection`."""
    return _selecting(command, EventSelection, _EVENTS)


def selected_entries(command: Command) -> Command:
    """Give a command the options that select entries of the audit trail, and the argument `selection`."""
    return _selecting(command, AuditSelection, _ENTRIES)


def limit(command: Command) -> Command:
    """Give a command the option `--limit`: how many rows it shows, 50 of them if it is left out."""

    def read(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> int:
        text = once(ctx, param, value)
        with wrong_usage():
            return 50 if text is None else values.whole(text, "--limit", 1, MAX_LIMIT)

    return click.option(
        "--limit",
        multiple=True,
        callback=read,
        metavar="NUMBER",
        help=f"At most so many, up to {MAX_LIMIT:,} [default: 50].",
    )(command)


def check_there(settings: Settings, session: Session, selection: Selection | EventSelection) -> None:
    """Raise `Refused`, with a suggestion, for a webhook that is not there and a type that no event has; for a selection that nothing has matched."""
    if isinstance(selection, Selection) and selection.webhook_id is not None:
        _check_webhook(session, selection.webhook_id, selection.project_id)
    if selection.event_type is not None:
        of_type = EventSelection(project_id=selection.project_id, event_type=selection.event_type)
        if not READS.log.newest_events(session, of_type, limit=1):
            refuse_unlisted(settings, selection.event_type, "--type")


def check_entries(session: Session, selection: AuditSelection) -> None:
    """Raise `Refused` for a webhook that neither is there nor ever was; where no entry of the trail has matched."""
    of_webhook = AuditSelection(project_id=selection.project_id, webhook_id=selection.webhook_id)
    if selection.webhook_id is not None and not READS.audit.entries(session, of_webhook, limit=1):
        _check_webhook(session, selection.webhook_id, selection.project_id)


def _check_webhook(session: Session, webhook_id: str, project: str | None) -> None:
    try:
        webhook = READS.webhooks.get(session, webhook_id)
    except NotFound:
        raise unknown_webhook(webhook_id, "--webhook") from None
    if project not in (None, webhook.project_id):
        raise unknown_webhook(webhook_id, "--webhook")


class Time(click.ParamType[datetime]):
    """A point in time: `2026-01-31T09:30:00Z`, `2026-01-31`, or how long ago it was: `2h`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the time; how long ago is counted from now."""
        with wrong_usage():
            return values.time(value, param.opts[0] if param is not None else self.name, clock.now())
