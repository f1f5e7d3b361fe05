"""`almirant-webhooks webhook …`"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from .. import clock
from ..model import Refused, Webhook
from ..rules import validation
from ..rules.event_types import choose_sample, sample_payload
from ..settings.schema import Settings
from ..storage.sqlite import health, held, rotation, webhooks
from .options import actor, as_json, config, reading, writing
from .output import print_fields, print_json, print_table, say
from .waiting import wait_for_attempt


@click.group()
def webhook() -> None:
    """Create, list and change webhooks: configured receivers, each of one project."""


@webhook.command()
@click.option("--project", required=True, help="The project that it belongs to.")
@click.option("--url", required=True, help="Where events are POSTed to.")
@click.option(
    "--event", "events", multiple=True, required=True, help="A type, a family (work_item.*) or *. Repeatable."
)
@click.option("--secret", help="An own secret of 16 to 256 bytes [default: a generated one].")
@click.option("--description", default="", help="What it is for.")
@as_json
@config
def create(
    settings: Settings,
    project: str,
    url: str,
    events: tuple[str, ...],
    secret: str | None,
    description: str,
    as_json: bool,
) -> None:
    """Create a webhook and print it with its secret.

    \b
    Example:
      almirant-webhooks webhook create --project proj_1 --url https://example.com/in --event 'work_item.*'
    """
    values: dict[str, Any] = {
        "project_id": validation.project_id(project),
        "url": validation.url(url, settings.policy()),
        "events": validation.events(events, settings.events.extra_types, project),
        "secret": validation.secret(secret),
        "description": validation.description(description),
        "limit": settings.limits.webhooks_per_project,
    }
    with writing(settings) as conn:
        made = webhooks.create(conn, **values, now=clock.now(), actor=actor())
    if as_json:
        print_json(asdict(made))
    else:
        print_fields({**asdict(made), "events": ", ".join(made.events), "enabled": "yes"})


def _on(one: Webhook, *, failing: bool) -> str:
    return "failing" if failing else "on" if one.enabled else "off"


@webhook.command("list")
@click.option("--project", help="Of this project alone.")
@as_json
@config
def list_(settings: Settings, project: str | None, as_json: bool) -> None:
    """List the webhooks."""
    with reading(settings) as conn:
        found = webhooks.find(conn, project_id=project)
        failing = health.failing(conn)
    if as_json:
        print_json([{**asdict(one), "failing_since": failing.get(one.id)} for one in found])
        return
    rows = [
        {**asdict(one), "events": ", ".join(one.events), "on": _on(one, failing=one.id in failing)} for one in found
    ]
    print_table({"id": "ID", "project_id": "PROJECT", "on": "ON", "url": "URL", "events": "EVENTS"}, rows)


@webhook.command()
@click.argument("webhook_id")
@click.option("--secret", "with_secret", is_flag=True, help="Show the secret too; who looked is written down.")
@as_json
@config
def show(settings: Settings, webhook_id: str, with_secret: bool, as_json: bool) -> None:
    """Show a webhook and how its deliveries stand."""
    now = clock.now()
    with reading(settings) as conn:
        found = webhooks.get(conn, webhook_id)
        (counts,) = webhooks.health(conn, webhook_id)
        fields = {**asdict(found), **{name: value for name, value in counts.items() if name != "webhook_id"}}
        fields["enabled"] = found.enabled
        fields |= rotation.state(conn, webhook_id, now) or {}
    if with_secret:
        with writing(settings) as conn:
            secrets = rotation.reveal(conn, webhook_id, actor=actor(), now=now)
        fields["secret"] = secrets.current
        fields |= {"next_secret": secrets.next} if secrets.next else {}
    if as_json:
        print_json(fields)
    else:
        print_fields({**fields, "events": ", ".join(found.events), "enabled": "yes" if found.enabled else "no"})


@webhook.command()
@click.argument("webhook_id")
@click.option("--url", help="A new URL.")
@click.option("--event", "events", multiple=True, help="New subscriptions, in place of all it has. Repeatable.")
@click.option("--secret", help="A new secret, used from the next attempt on; see rotate-secret for a gentler change.")
@click.option("--description", help="A new description.")
@as_json
@config
def update(
    settings: Settings,
    webhook_id: str,
    url: str | None,
    events: tuple[str, ...],
    secret: str | None,
    description: str | None,
    as_json: bool,
) -> None:
    """Change what is given; the next attempt uses it."""
    if url is None and not events and secret is None and description is None:
        raise click.UsageError("Nothing to change: give --url, --event, --secret or --description.")
    changes: dict[str, Any] = {
        "url": None if url is None else validation.url(url, settings.policy()),
        "secret": None if secret is None else validation.secret(secret),
        "description": None if description is None else validation.description(description),
    }
    with writing(settings) as conn:
        if events:
            project = webhooks.get(conn, webhook_id).project_id
            changes["events"] = validation.events(events, settings.events.extra_types, project)
        changed = webhooks.update(conn, webhook_id, **changes, now=clock.now(), actor=actor())
    _print_changed(changed, "updated", as_json=as_json)


def _print_changed(one: Webhook, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(one))
    else:
        say(f"{one.id} {what}.")


@webhook.command()
@click.argument("webhook_id")
@click.option("--discard-held", is_flag=True, help="Cancel the deliveries that are held instead of sending them.")
@as_json
@config
def enable(settings: Settings, webhook_id: str, discard_held: bool, as_json: bool) -> None:
    """Enable a webhook; what is held is sent, or discarded."""
    with reading(settings) as conn:
        count = held.count(conn, webhook_id)
    with writing(settings) as conn:
        webhooks.enable(conn, webhook_id, discard_held=discard_held, now=clock.now(), actor=actor(), count=count)
        changed = webhooks.get(conn, webhook_id)
    _print_changed(
        changed, f"enabled; {count} held deliveries {'discarded' if discard_held else 'go on'}", as_json=as_json
    )


@webhook.command()
@click.argument("webhook_id")
@as_json
@config
def disable(settings: Settings, webhook_id: str, as_json: bool) -> None:
    """Disable a webhook: its deliveries are held until it is enabled."""
    with writing(settings) as conn:
        webhooks.disable(conn, webhook_id, clock.now(), actor=actor())
        changed = webhooks.get(conn, webhook_id)
    _print_changed(changed, "disabled; its deliveries are held", as_json=as_json)


@webhook.command()
@click.argument("webhook_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config
def delete(settings: Settings, webhook_id: str, yes: bool) -> None:
    """Delete a webhook with its delivery history, for good."""
    with reading(settings) as conn:
        count = webhooks.delivery_count(conn, webhook_id)
    if not yes:
        if not sys.stdin.isatty():
            raise Refused(f"This deletes {webhook_id} and its {count} deliveries for good; say --yes.")
        click.confirm(f"Delete {webhook_id} and its {count} deliveries for good?", abort=True, err=True)
    with writing(settings) as conn:
        webhooks.delete(conn, webhook_id, clock.now(), actor=actor())
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
    if (switch_after is not None) + at_once + cancel > 1 or (cancel and secret is not None):
        raise click.UsageError("Give one of --switch-after, --now and --cancel; --secret does not go with --cancel.")
    wait = timedelta(0) if at_once else validation.switch_after(switch_after or "24h")
    new = None if cancel else validation.secret(secret)
    now = clock.now()
    with writing(settings) as conn:
        if new is None:
            rotation.cancel(conn, webhook_id, actor=actor(), now=now)
            begun: dict[str, Any] = {"webhook_id": webhook_id, "cancelled": True}
        else:
            begun = {**rotation.start(conn, webhook_id, secret=new, switch_at=now + wait, actor=actor(), now=now)}
    if as_json:
        print_json(begun)
    elif cancel:
        say(f"{webhook_id} keeps its secret.")
    else:
        print_fields(begun)


@webhook.command()
@click.argument("webhook_id")
@click.option("--event", "event_type", help="The type of the sample [default: the first that it subscribes to].")
@click.option("--wait", is_flag=True, help="Wait for the answer (the daemon must run); exit 1 unless it is a success.")
@as_json
@config
def test(settings: Settings, webhook_id: str, event_type: str | None, wait: bool, as_json: bool) -> None:
    """Send a sample event to this webhook alone, also while it is disabled; one attempt, no retries."""
    with writing(settings) as conn:
        found = webhooks.get(conn, webhook_id)
        chosen = choose_sample(found.events, settings.events.extra_types, event_type, found.project_id)
        payload = json.dumps(sample_payload(chosen), ensure_ascii=False)
        delivery_id = webhooks.request_test(conn, webhook_id, chosen, payload, clock.now(), actor=actor())
    if wait:
        wait_for_attempt(settings, delivery_id, as_json=as_json)
    elif as_json:
        print_json({"delivery_id": delivery_id})
    else:
        say(f"{delivery_id} goes out as soon as the daemon runs; see `almirant-webhooks delivery show {delivery_id}`.")
