"""A list that was asked for a type or a webhook that is not there: refused with a suggestion, in place of an empty one."""

from __future__ import annotations

from ..model import Refused
from ..rules.event_types import check_listed
from ..rules.texts import Text
from ..settings.schema import Settings


def refuse_unlisted(settings: Settings, event_type: str, name: str) -> None:
    """Raise `Refused` for a type or family outside the catalogue, which no event has; `name` is its parameter's."""
    check_listed(event_type, name, settings.events.extra_types)


def unknown_webhook(webhook_id: str, name: str) -> Refused:
    """Return what refuses a webhook that is not there, or is of another project; `name` is its parameter's."""
    return Refused(
        Text(
            "{name}: there is no webhook {webhook_id} here. The list of webhooks has the ids of all that there are; leave {name} out to see those of all webhooks.",
            name=name,
            webhook_id=webhook_id,
        ),
        name,
    )
