"""Versions of a webhook, so that of two people who edit it the later one overwrites nothing silently."""

from __future__ import annotations

import json
from collections.abc import Collection
from hashlib import sha256

from ..model import OPTIONS, Outdated, Webhook
from . import conditions
from .texts import Text, sentences

_SETTINGS = ("url", "events", "description", *OPTIONS)
# What people call what can be changed of a webhook.
SETTINGS = {
    "url": Text("URL"),
    "events": Text("events"),
    "secret": Text("secret"),
    "description": Text("description"),
    "filter": Text("filter"),
    "concurrency": Text("requests at once"),
    "headers": Text("headers"),
    "rate_limit": Text("rate limit"),
    "template": Text("template"),
    "ordered": Text("order"),
}


def version(webhook: Webhook) -> str:
    """Return a text that differs once anything of the webhook has changed."""
    return _digest([getattr(webhook, name) for name in (*_SETTINGS, "enabled", "updated_at")])


def of_settings(webhook: Webhook) -> str:
    """Return a text that tells which of the settings in the form have changed since."""
    return "-".join(_digest(getattr(webhook, name)) for name in _SETTINGS)


def check(expected: Collection[str], webhook: Webhook) -> None:
    """Raise `Outdated` unless the webhook's version is one of those that are expected."""
    if version(webhook) not in expected:
        raise Outdated(
            Text("Somebody else changed this webhook first. Read it again, then repeat the change."), "If-Match"
        )


def check_settings(seen: str, webhook: Webhook) -> None:
    """Raise `Outdated`, with what the settings are now, if one has changed since the form with `seen` was shown."""
    now = {name: getattr(webhook, name) for name in _SETTINGS} | {
        "events": ", ".join(webhook.events),
        "headers": ", ".join(webhook.headers or ()),
        "filter": sentences([conditions.said(condition) for condition in webhook.filter or ()]),
        "ordered": Text("one after the other") if webhook.ordered else "",
    }
    parts = zip(now, seen.split("-"), of_settings(webhook).split("-"), strict=False)
    changes = [_change(name, now[name]) for name, before, after in parts if before != after]
    if changes:
        raise Outdated(
            Text(
                "Somebody else saved this webhook meanwhile: {changes}. Save again to put what stands below in its place.",
                changes=sentences(changes),
            )
        )


def _change(name: str, value: object) -> Text:
    name = SETTINGS[name]
    return Text("{name}: now {value}", name=name, value=value) if value else Text("{name}: now none", name=name)


def _digest(value: object) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:20]
