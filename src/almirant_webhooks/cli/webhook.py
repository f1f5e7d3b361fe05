"""`almirant-webhooks webhook …`"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import click

from .. import clock
from ..actions import webhook_secrets
from ..actions import webhooks as actions
from ..model import Webhook
from ..rules.stored_texts import is_unopenable
from ..settings.schema import Settings
from ..storage.engine import EVERY_ROW
from . import replays, webhook_options
from .database import READS, reading
from .options import as_json, config
from .output import confirm, print_fields, print_json, print_table, safe, say
from .run_action import CommandDatabase, caller, run_action
from .sealing_checks import why_not_opened
from .waiting import wait_for_attempt, words_of
from .webhook_preview import preview
from .webhook_trouble import words_of_trouble


@click.group()
def webhook() -> None:
    """Create, list and change webhooks: configured receivers, each of one project."""


webhook.add_command(replays.replay)
webhook.add_command(preview)


@webhook.command()
@click.option("--project", required=True, help="The project that it belongs to.")
@click.option("--url", required=True, help="Where events are POSTed to.")
@click.option(
    "--event", "events", multiple=True, required=True, help="A type, a family (work_item.*) or *. Repeatable."
)
@click.option("--secret", help="An own secret of 16 to 256 bytes [default: a generated one].")
@click.option("--description", default="", help="What it is for.")
@webhook_options.of_new
@as_json
@config
def create(
    settings: Settings,
    project: str,
    url: str,
    events: tuple[str, ...],
    secret: str | None,
    description: str,
    options: Mapping[str, object],
    as_json: bool,
) -> None:
    """Create a webhook and print it with its secret.

    \b
    Example:
      almirant-webhooks webhook create --project proj_1 --url https://example.com/in --event 'work_item.*'
    """
    created = run_action(
        actions.create(
            CommandDatabase(settings),
            caller(),
            now=clock.now(),
            settings=settings,
            project_id=project,
            url=url,
            events=events,
            secret=secret,
            description=description,
            options=options,
        )
    )
    if as_json:
        print_json(asdict(created))
    else:
        print_fields(
            {
                **asdict(created),
                **webhook_options.in_words(asdict(created)),
                "events": ", ".join(created.events),
                "enabled": "yes",
            }
        )


def _on(row: Webhook, *, failing: bool, waiting: int) -> str:
    if waiting:
        return f"rate-limited, {waiting} wait"
    return "failing" if failing else "on" if row.enabled else "off"


@webhook.command("list")
@click.option("--project", help="Of this project alone.")
@as_json
@config
def list_(settings: Settings, project: str | None, as_json: bool) -> None:
    """List the webhooks."""
    with reading(settings) as conn:
        listed = READS.webhooks.find(conn, project_id=project)
        failing = READS.health.failing(conn)
        waiting = READS.rates.waiting(conn, [row.id for row in listed], clock.now(), EVERY_ROW)
    if as_json:
        of = [{"failing_since": failing.get(row.id), "rate_limited": waiting.get(row.id, 0)} for row in listed]
        print_json([{**asdict(row), **more} for row, more in zip(listed, of, strict=True)])
        return
    states = {row.id: _on(row, failing=row.id in failing, waiting=waiting.get(row.id, 0)) for row in listed}
    rows = [{**asdict(row), "events": ", ".join(row.events), "on": states[row.id]} for row in listed]
    columns = {"id": "ID", "project_id": "PROJECT", "on": "ON", "url": "URL", "events": "EVENTS"}
    print_table(columns, rows)
    for row in listed:
        if row.disabled_reason:
            click.echo(f"{row.id} was disabled by the service at {row.disabled_at}: {safe(row.disabled_reason)}")


@webhook.command()
@click.argument("webhook_id")
@click.option("--secret", "with_secret", is_flag=True, help="Show what is secret too; who looked is written down.")
@as_json
@config
def show(settings: Settings, webhook_id: str, with_secret: bool, as_json: bool) -> None:
    """Show a webhook and how its deliveries stand."""
    now = clock.now()
    with reading(settings) as conn:
        row = READS.webhooks.get(conn, webhook_id)
        (counts,) = READS.webhooks.health(conn, webhook_id)
        fields = {k: v for k, v in {**asdict(row), **counts, "enabled": row.enabled}.items() if k != "webhook_id"}
        fields["rate_limited"] = READS.rates.waiting(conn, [webhook_id], now, EVERY_ROW).get(webhook_id, 0)
        fields |= READS.secrets.state(conn, webhook_id, now) or {}
        said_before = row.enabled or is_unopenable(row.disabled_reason)
        problem = None if said_before else why_not_opened(conn, webhook_id)
        fields["waits_for"] = ahead = READS.deliveries.held_up_by(conn, webhook_id)
        waiting = int(fields["rate_limited"])
        fields["trouble"] = words_of_trouble(conn, row, settings, ahead=ahead, rate_limited=waiting)
    if with_secret:
        secrets = run_action(webhook_secrets.reveal(CommandDatabase(settings), caller(), webhook_id, now=now))
        fields["headers"] = dict(secrets.headers) or None
        fields["secret"] = secrets.current
        fields |= {"next_secret": secrets.next} if secrets.next else {}
    if as_json:
        print_json(fields)
    else:
        del fields["disabled_reason"]  # `trouble` says it
        fields |= {**webhook_options.in_words(fields), "waits_for": ahead and words_of(ahead, settings)}
        print_fields({**fields, "events": ", ".join(row.events), "enabled": "yes" if row.enabled else "no"})
    if problem is not None:
        say(f"note: {problem}")


@webhook.command()
@click.argument("webhook_id")
@click.option("--url", help="A new URL.")
@click.option("--event", "events", multiple=True, help="New subscriptions, in place of all it has. Repeatable.")
@click.option("--secret", help="A new secret, used from the next attempt on; see rotate-secret for a gentler change.")
@click.option("--description", help="A new description.")
@webhook_options.of_change
@as_json
@config
def update(
    settings: Settings,
    webhook_id: str,
    url: str | None,
    events: tuple[str, ...],
    secret: str | None,
    description: str | None,
    options: Mapping[str, object],
    as_json: bool,
) -> None:
    """Change what is given; the next attempt uses it."""
    # Wrong usage is said before the database is looked for.
    actions.check_changes_something(url, events or None, secret, description, options)
    changed = run_action(
        actions.update(
            CommandDatabase(settings),
            caller(),
            webhook_id,
            now=clock.now(),
            settings=settings,
            url=url,
            events=events or None,
            secret=secret,
            description=description,
            options=options,
        )
    )
    _print_changed(changed, "updated", as_json=as_json)


def _print_changed(row: Webhook, change: str, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(row))
    else:
        say(f"{row.id} {change}.")


@webhook.command()
@click.argument("webhook_id")
@click.option("--discard-held", is_flag=True, help="Cancel the deliveries that are held instead of sending them.")
@as_json
@config
def enable(settings: Settings, webhook_id: str, discard_held: bool, as_json: bool) -> None:
    """Enable a webhook; what is held is sent, or discarded."""
    changed, count = run_action(
        actions.enable(CommandDatabase(settings), caller(), webhook_id, now=clock.now(), discard_held=discard_held)
    )
    words = f"enabled; {count} held deliveries {'discarded' if discard_held else 'go on'}"
    _print_changed(changed, words, as_json=as_json)


@webhook.command()
@click.argument("webhook_id")
@as_json
@config
def disable(settings: Settings, webhook_id: str, as_json: bool) -> None:
    """Disable a webhook: its deliveries are held until it is enabled."""
    changed = run_action(actions.disable(CommandDatabase(settings), caller(), webhook_id, now=clock.now()))
    _print_changed(changed, "disabled; its deliveries are held", as_json=as_json)


@webhook.command()
@click.argument("webhook_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config
def delete(settings: Settings, webhook_id: str, yes: bool) -> None:
    """Delete a webhook with its delivery history, for good."""
    with reading(settings) as conn:
        count, is_all = READS.webhooks.delivery_count(conn, webhook_id)
    if not yes:
        what = f"{webhook_id} and its {count}{'' if is_all else '+'} deliveries for good"
        confirm(f"Delete {what}?", f"This deletes {what}; say --yes.")
    run_action(actions.delete(CommandDatabase(settings), caller(), webhook_id, now=clock.now()))
    say(f"{webhook_id} deleted.")


@webhook.command("rotate-secret")
@click.argument("webhook_id")
@click.option("--switch-after", metavar="DURATION", help="When the new secret begins to sign [default: 24h].")
@click.option("--now", "at_once", is_flag=True, help="Switch at once, to a secret that waits for its switch too.")
@click.option("--cancel", is_flag=True, help="Take the new secret back, before its switch.")
@click.option("--secret", help="An own new secret of 16 to 256 bytes [default: a generated one].")
@as_json
@config
def rotate_secret(
    settings: Settings,
    webhook_id: str,
    switch_after: str | None,
    at_once: bool,
    cancel: bool,
    secret: str | None,
    as_json: bool,
) -> None:
    """Change a webhook's secret without a lost event.

    Until the switch requests carry the new signature beside the one that counts; see the receivers' page.

    \b
    Examples:
      almirant-webhooks webhook rotate-secret wh_1f… --switch-after 48h
      almirant-webhooks webhook rotate-secret wh_1f… --cancel
    """
    action = webhook_secrets.rotate(
        CommandDatabase(settings), caller(), webhook_id, now=clock.now(), secret=secret, switch_after=switch_after,
        at_once=at_once, cancel=cancel,
    )  # fmt: skip
    started = run_action(action, waiting="Say --cancel or --now.")
    if as_json:
        print_json(started or {"webhook_id": webhook_id, "cancelled": True})
    elif started is None:
        say(f"{webhook_id} keeps its secret.")
    else:
        print_fields(started)


@webhook.command()
@click.argument("webhook_id")
@click.option("--event", "event_type", help="The type of the sample [default: the first that it subscribes to].")
@click.option("--wait", is_flag=True, help="Wait for the answer (the daemon must run); exit 1 unless it is a success.")
@as_json
@config
def test(settings: Settings, webhook_id: str, event_type: str | None, wait: bool, as_json: bool) -> None:
    """Send a sample event to this webhook alone, also while it is disabled; one attempt, no retries."""
    delivery_id = run_action(
        actions.send_test(
            CommandDatabase(settings), caller(), webhook_id, now=clock.now(), settings=settings, event_type=event_type
        )
    )
    if wait:
        wait_for_attempt(settings, delivery_id, as_json=as_json)
    elif as_json:
        print_json({"delivery_id": delivery_id})
    else:
        say(f"{delivery_id} goes out as soon as the daemon runs; see `almirant-webhooks delivery show {delivery_id}`.")
