"""Create, change, enable, disable and delete a webhook, and send it a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, TypeVar, cast

from ..model import OPTIONS, NewWebhook, Options, Refused, Webhook, WebhookValues, WrongUsage
from ..rules import templates, urls, validation, webhook_options
from ..rules.event_types import catalogue_of, choose_sample, sample_payload
from ..rules.principals import Principal
from ..rules.texts import Text
from ..settings.schema import Settings
from ..storage.engine import Session
from . import reach
from .database import Database

T = TypeVar("T")
# Raises `Outdated` for a webhook that somebody else has changed meanwhile; it is called in the transaction of the change.
Check = Callable[[Webhook], None]


class Enabled(NamedTuple):
    """A webhook that was enabled, and how many deliveries were held until then."""

    webhook: Webhook
    held: int


class _Checks:
    """Applies rules one after the other; `end` refuses with everything that is wrong at once."""

    def __init__(self) -> None:
        self._refusals: list[Refused] = []

    def apply(self, rule: Callable[[], T]) -> T:
        """Return what the rule returns; what it returns for a refused value is never used, since `end` raises."""
        try:
            return rule()
        except Refused as refused:
            self._refusals.append(refused)
            return cast("T", None)

    def options(self, given: Mapping[str, object]) -> Options:
        """Apply the rules of the options that are given; what is not given stays as it is."""
        names = [name for name in OPTIONS if name in given]
        return cast("Options", {name: self.apply(partial(webhook_options.check, name, given[name])) for name in names})

    def samples(self, template: str | None, events: Sequence[str] | None, catalogue: Sequence[str]) -> None:
        """Try a template with samples of the types of `events`, if both were right."""
        if template is not None and events is not None:
            self.apply(partial(templates.check_samples, template, events, catalogue))

    def end(self) -> None:
        """Raise the first refusal with the others beside it, if there was any."""
        if self._refusals:
            first, *first.others = self._refusals
            raise first


def check_new(
    settings: Settings,
    *,
    project_id: str,
    url: str,
    events: Sequence[str],
    secret: str | None,
    description: str,
    options: Mapping[str, object],
) -> WebhookValues:
    """Return what a webhook would be made of, with a generated secret for None; raises `Refused` with all that is wrong."""
    checks = _Checks()
    checked_project = checks.apply(lambda: validation.project_id(project_id))
    checked_url = checks.apply(lambda: urls.check_url(url, settings.policy()))
    checked_events = checks.apply(lambda: validation.events(events, settings.events.extra_types, project_id))
    checked_secret = checks.apply(lambda: validation.secret(secret))
    checked_description = checks.apply(lambda: validation.description(description))
    checked_options = checks.options(options)
    catalogue = catalogue_of(project_id, settings.events.extra_types)
    checks.samples(checked_options.get("template"), checked_events, catalogue)
    checks.apply(lambda: webhook_options.check_together(checked_options))
    checks.end()
    return {
        "project_id": checked_project,
        "url": checked_url,
        "events": checked_events,
        "secret": checked_secret,
        "description": checked_description,
        "options": checked_options,
    }


async def create(
    database: Database,
    principal: Principal,
    *,
    now: datetime,
    settings: Settings,
    project_id: str | None,
    url: str,
    events: Sequence[str],
    secret: str | None,
    description: str,
    options: Mapping[str, object],
) -> NewWebhook:
    """Create a webhook; without a secret one is generated. `options` are as people wrote them, by their names.

    Raises `NotFound` for another's project, else `Refused` with all fields that are wrong. Atomic with its audit entry.
    """
    project = reach.scope(principal, project_id)
    if project is None:
        raise Refused(Text("Name the project that the webhook belongs to."), "project_id")
    values = check_new(
        settings,
        project_id=project,
        url=url,
        events=events,
        secret=secret,
        description=description,
        options=options,
    )
    return await database.write(
        database.store.webhooks.create,
        **values,
        limit=settings.limits.webhooks_per_project,
        now=now,
        actor=principal.actor,
    )


def check_changes_something(
    url: str | None,
    events: Sequence[str] | None,
    secret: str | None,
    description: str | None,
    options: Mapping[str, object],
) -> None:
    """Raise `WrongUsage` for an update that has nothing to change."""
    if url is None and events is None and secret is None and description is None and not options:
        *names, last = ("url", "events", "secret", "description", *OPTIONS)
        raise WrongUsage(Text("Nothing to change: give {names} or {last}.", names=", ".join(names), last=last), "body")


async def update(
    database: Database,
    principal: Principal,
    webhook_id: str,
    *,
    now: datetime,
    settings: Settings,
    url: str | None = None,
    events: Sequence[str] | None = None,
    secret: str | None = None,
    description: str | None = None,
    options: Mapping[str, object] = MappingProxyType({}),
    check: Check | None = None,
) -> Webhook:
    """Change what is given (None stays as it is, but takes an option away); the next attempt uses it.

    Raises `NotFound`, `WrongUsage` for nothing, what `check` raises, else `Refused` with all fields that are wrong.
    Atomic with its audit entry.
    """
    row = await reach.webhook(database, principal, webhook_id)
    project = row.project_id
    check_changes_something(url, events, secret, description, options)
    checks = _Checks()
    new_url = None if url is None else checks.apply(lambda: urls.check_url(url, settings.policy()))
    new_events = (
        None
        if events is None
        else checks.apply(lambda: validation.events(events, settings.events.extra_types, project))
    )
    new_secret = None if secret is None else checks.apply(lambda: validation.secret(secret))
    new_description = None if description is None else checks.apply(lambda: validation.description(description))
    new_options = checks.options(options)
    if "template" in options or events is not None:
        catalogue = catalogue_of(project, settings.events.extra_types)
        checks.samples(
            new_options.get("template", row.template), new_events if events is not None else row.events, catalogue
        )
    checks.end()

    def change(conn: Session) -> Webhook:
        _look(database, conn, webhook_id, check)
        if new_options:
            current = database.store.webhooks.get(conn, webhook_id)
            webhook_options.check_together({name: getattr(current, name) for name in OPTIONS} | new_options)
        return database.store.webhooks.update(
            conn,
            webhook_id,
            url=new_url,
            events=new_events,
            secret=new_secret,
            description=new_description,
            options=new_options,
            now=now,
            actor=principal.actor,
        )

    return await database.write(change)


def _look(database: Database, conn: Session, webhook_id: str, check: Check | None) -> None:
    """Let `check` see the webhook as it is when the change begins."""
    if check is not None:
        check(database.store.webhooks.get(conn, webhook_id))


async def enable(
    database: Database,
    principal: Principal,
    webhook_id: str,
    *,
    now: datetime,
    discard_held: bool = False,
    check: Check | None = None,
) -> Enabled:
    """Enable a webhook: what is held goes out, or is discarded. Raises `NotFound`; atomic with its audit entry."""
    await reach.webhook(database, principal, webhook_id)
    count = await database.read(database.store.held.count, webhook_id)

    def change(conn: Session) -> Webhook:
        _look(database, conn, webhook_id, check)
        database.store.webhooks.enable(
            conn, webhook_id, discard_held=discard_held, now=now, actor=principal.actor, count=count
        )
        return database.store.webhooks.get(conn, webhook_id)

    return Enabled(await database.write(change), count)


async def disable(
    database: Database, principal: Principal, webhook_id: str, *, now: datetime, check: Check | None = None
) -> Webhook:
    """Disable a webhook: from the commit on its deliveries are held. Raises `NotFound`; atomic with its audit entry."""
    await reach.webhook(database, principal, webhook_id)

    def change(conn: Session) -> Webhook:
        _look(database, conn, webhook_id, check)
        database.store.webhooks.disable(conn, webhook_id, now, actor=principal.actor)
        return database.store.webhooks.get(conn, webhook_id)

    return await database.write(change)


async def delete(
    database: Database, principal: Principal, webhook_id: str, *, now: datetime, check: Check | None = None
) -> None:
    """Delete a webhook with its delivery history, for good. Raises `NotFound`; atomic with its audit entry."""
    await reach.webhook(database, principal, webhook_id)

    def change(conn: Session) -> None:
        _look(database, conn, webhook_id, check)
        database.store.webhooks.delete(conn, webhook_id, now, actor=principal.actor)

    await database.write(change)


async def send_test(
    database: Database,
    principal: Principal,
    webhook_id: str,
    *,
    now: datetime,
    settings: Settings,
    event_type: str | None = None,
) -> str:
    """Send a sample event to this webhook alone, also while it is disabled; return the delivery's id.

    Without a type it is the first that the webhook subscribes to. Raises `NotFound`, and `Refused` for a type that is none.
    """
    row = await reach.webhook(database, principal, webhook_id)
    chosen = choose_sample(row.events, settings.events.extra_types, event_type, row.project_id)
    payload = json.dumps(sample_payload(chosen), ensure_ascii=False)
    return await database.write(
        database.store.webhooks.request_test, webhook_id, chosen, payload, now, actor=principal.actor
    )
