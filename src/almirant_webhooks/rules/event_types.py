"""The catalogue of event types, the patterns that webhooks subscribe to, and sample payloads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from ..model import RESERVED_PROJECT, Refused
from .texts import Text

CATALOGUE = (
    "work_item.created",
    "work_item.updated",
    "work_item.moved",
    "work_item.archived",
    "lead.created",
    "lead.updated",
    "lead.stage_changed",
    "sprint.created",
    "sprint.closed",
)
# Operators can subscribe to these, in the reserved project alone.
OWN_TYPES = ("webhook.failing", "webhook.recovered", "webhook.disabled", "delivery.failed")
# A project's own webhooks can subscribe to the same about their project; no producer can send one.
NOTICE_PREFIX = f"{RESERVED_PROJECT}."
NOTICES = tuple(f"{NOTICE_PREFIX}{own_type}" for own_type in OWN_TYPES)
_WELL_FORMED = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
MAX_LENGTH = 128


def is_well_formed(event_type: str) -> bool:
    """Return whether a text is an event type: dotted lower-case words, at most 128 characters."""
    return len(event_type) <= MAX_LENGTH and _WELL_FORMED.fullmatch(event_type) is not None


def family_of(text: str) -> str:
    """Return what the types of a family begin with (`lead.*`: `lead.`), empty for what is no well-formed family."""
    is_family = text.endswith(".*") and is_well_formed(f"{text[:-1]}x")
    return text[:-1] if is_family else ""


def check_well_formed(event_type: str) -> str:
    """Return the text if it has the form of an event type, in the catalogue or not; else raise `Refused`."""
    if not is_well_formed(event_type):
        raise Refused(
            Text("An event type is dotted lower-case words such as work_item.created, at most 128 characters."),
            "event_type",
        )
    return event_type


def is_notice(text: str) -> bool:
    """Tell whether an event type, or a pattern, is the service's own: `almirant.` and more."""
    return text.startswith(NOTICE_PREFIX)


def check_producers_type(event_type: str) -> str:
    """Return a well-formed type that a producer's event may have, or raise `Refused`."""
    if is_notice(check_well_formed(event_type)):
        raise Refused(
            Text(
                "Event types that begin with {notice_prefix} are the service's own: it tells of webhooks by them. Give the event another type.",
                notice_prefix=NOTICE_PREFIX,
            ),
            "event_type",
        )
    return event_type


@lru_cache(maxsize=4096)
def patterns_for(event_type: str) -> tuple[str, ...]:
    """Return every pattern that matches an event type: itself, its families, and `*`, but for a notice."""
    words = event_type.split(".")
    families = tuple(".".join(words[:count]) + ".*" for count in range(1, len(words)))
    return (event_type, *families) if is_notice(event_type) else (event_type, *families, "*")


def check_event_type(text: str, extra: Collection[str] = (), project_id: str = "") -> str:
    """Return an event type of the project's catalogue, or raise `Refused` with a suggestion."""
    catalogue = catalogue_of(project_id, extra)
    if text in catalogue:
        return text
    raise Refused(
        Text("{text!r} is not an event type. {suggestion}", text=text, suggestion=suggestion(text, catalogue)),
        "event_type",
    )


def catalogue_of(project_id: str, extra: Collection[str] = ()) -> tuple[str, ...]:
    """Return the types that webhooks of a project can subscribe to."""
    return OWN_TYPES if project_id == RESERVED_PROJECT else (*CATALOGUE, *extra, *NOTICES)


def check_pattern(text: str, extra: Collection[str] = (), project_id: str = "") -> str:
    """Return a pattern that matches a type of the project's catalogue, or raise `Refused` with a suggestion."""
    pattern = text.strip()
    catalogue = catalogue_of(project_id, extra)
    if any(pattern in patterns_for(event_type) for event_type in catalogue):
        return pattern
    families = sorted({family for event_type in catalogue for family in patterns_for(event_type)[1:]})
    raise Refused(
        Text(
            "{pattern!r} fits no event type. {suggestion}",
            pattern=pattern,
            suggestion=suggestion(pattern, (*catalogue, *families)),
        ),
        "events",
    )


def check_listed(text: str, name: str, extra: Collection[str] = ()) -> None:
    """Raise `Refused`, with a suggestion, for a type or family that fits none of any project's catalogue.

    `name` is the parameter that it came by. For a selection that no event fits: a producer may send other types too.
    """
    catalogue = (*CATALOGUE, *extra, *NOTICES, *OWN_TYPES)
    if not any(text in patterns_for(event_type) for event_type in catalogue):
        raise Refused(
            Text(
                "{name}: there is no event of the type {text}, and the catalogue has none. {suggestion}",
                name=name,
                text=text,
                suggestion=suggestion(text, catalogue),
            ),
            name,
        )


def suggestion(text: str, catalogue: Collection[str]) -> Text:
    """Return a sentence with the closest known name, or with all of them."""
    close = difflib.get_close_matches(text.lower(), catalogue, n=1, cutoff=0.5)
    if close:
        return Text("Did you mean {name!r}?", name=close[0])
    return Text("Known are {names}.", names=", ".join(catalogue))


def choose_sample(patterns: Collection[str], extra: Collection[str], requested: str | None, project_id: str) -> str:
    """Return the event type for a test: the requested one, else the first that the webhook subscribes to."""
    if requested is not None:
        return check_event_type(requested, extra, project_id)
    catalogue = catalogue_of(project_id, extra)
    return next((event_type for event_type in catalogue if set(patterns_for(event_type)) & set(patterns)), catalogue[0])


def sample_payload(event_type: str) -> dict[str, Any]:
    """Return a realistic sample payload of an event type."""
    family = event_type.split(".")[0]
    if event_type == f"{NOTICE_PREFIX}delivery.failed":
        return {**_SAMPLES["delivery.failed"], "count": 3}
    own_type = event_type.removeprefix(NOTICE_PREFIX)
    if own_type in _SAMPLES:
        return _SAMPLES[own_type]
    return {family: {"id": f"{family}_sample"}, "sample": True}


_ITEM = {"id": "wi_8c41", "key": "SHOP-214", "title": "Cart loses items after login", "priority": "high"}
_LEAD = {"id": "lead_52", "name": "Marta Olsen", "company": "Fjord & Søn", "value": 18500, "currency": "EUR"}
_SPRINT = {"id": "spr_31", "name": "Sprint 31", "startsOn": "2026-11-16", "endsOn": "2026-11-27"}
_ACTOR = {"id": "usr_7", "name": "Inés Prado"}

_WEBHOOK = {"id": "wh_sample", "projectId": "proj_1", "host": "example.com"}

_SAMPLES: dict[str, dict[str, Any]] = {
    "webhook.failing": {
        "webhook": _WEBHOOK,
        "failingSince": "2026-11-23T08:00:00.000Z",
        "failuresInARow": 12,
        "lastSuccessAt": "2026-11-23T07:59:00.000Z",
    },
    "webhook.recovered": {"webhook": _WEBHOOK, "lastSuccessAt": "2026-11-23T10:00:00.000Z"},
    "webhook.disabled": {
        "webhook": _WEBHOOK,
        "disabledAt": "2026-11-28T08:30:00.000Z",
        "failingSince": "2026-11-23T08:00:00.000Z",
        "lastFailureAt": "2026-11-28T08:29:00.000Z",
        "lastSuccessAt": "2026-11-23T07:59:00.000Z",
        "failuresInARow": 240,
        "cause": "the receiver answered 503",
    },
    "delivery.failed": {
        "delivery": {
            "id": "dlv_sample",
            "eventId": "evt_sample",
            "eventType": "lead.created",
            "attempts": 5,
            "lastAttempt": {"outcome": "http_error", "statusCode": 503, "cause": "the receiver answered 503"},
        },
        "webhook": _WEBHOOK,
    },
    "work_item.created": {"workItem": {**_ITEM, "column": "Backlog"}, "actor": _ACTOR},
    "work_item.updated": {
        "workItem": {**_ITEM, "priority": "urgent"},
        "changes": {"priority": {"from": "high", "to": "urgent"}},
        "actor": _ACTOR,
    },
    "work_item.moved": {"workItem": _ITEM, "from": "In progress", "to": "In review", "actor": _ACTOR},
    "work_item.archived": {"workItem": {**_ITEM, "archived": True}, "actor": _ACTOR},
    "lead.created": {"lead": {**_LEAD, "stage": "New"}, "source": "contact form"},
    "lead.updated": {"lead": {**_LEAD, "value": 21000}, "changes": {"value": {"from": 18500, "to": 21000}}},
    "lead.stage_changed": {"lead": {**_LEAD, "stage": "Won"}, "from": "Negotiation", "to": "Won"},
    "sprint.created": {"sprint": _SPRINT, "actor": _ACTOR},
    "sprint.closed": {"sprint": _SPRINT, "completed": 23, "carriedOver": 4, "actor": _ACTOR},
}
