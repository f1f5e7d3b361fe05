"""Selections: the conditions of a list, count or resend of deliveries, and of lists of events and of the audit trail.

The command line, the API and the pages parse their parameters into a selection here; storage turns it into SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Self

from .. import clock
from ..model import Refused, State
from . import audited, values
from .texts import Text

STATES = (*(state.value for state in State), "held")
_TIMES = ("since", "until")
_CLOCKS_DIFFER = timedelta(minutes=5)  # of who asks for what is new from now on

_Rule = Callable[[str, str, datetime], object]  # of a text, the parameter's name, and the current time
_RULES: dict[str, _Rule] = {
    "project_id": lambda text, name, _: values.project_id(text, name),
    "webhook_id": lambda text, name, _: values.webhook_id(text, name),
    "state": lambda text, name, _: values.word(text, name, STATES),
    "status": lambda text, name, _: values.status(text, name),
    "action": lambda text, name, _: audited.action(text, name),
    "event_type": lambda text, name, _: values.event_type(text, name),
    "event_id": lambda text, name, _: values.event_id(text, name),
    "cause": lambda text, name, _: text,
    "text": lambda text, name, _: text,
    "test": lambda text, name, _: values.flag(text, name),
    "unmatched": lambda text, name, _: values.flag(text, name),
    "since": values.time,
    "until": values.time,
}


def _parse(
    kind: type[_Conditions],
    texts: Mapping[str, str | None],
    names: Mapping[str, str],
    now: datetime,
) -> dict[str, Any]:
    """Return the parsed fields of a kind of selection; None in `texts` is a field that was left out."""
    parsed = {}
    for field in fields(kind):
        text = texts.get(field.name)
        if text is not None:
            name = names.get(field.name, field.name)
            parsed[field.name] = _RULES[field.name](values.line(text, name), name, now)
    _check_can_match(parsed, names, now)
    return parsed


def _check_can_match(parsed: Mapping[str, Any], names: Mapping[str, str], now: datetime) -> None:
    """Raise `Refused`, with what to change, for conditions that nothing can fulfil together."""
    since, until = parsed.get("since"), parsed.get("until")
    if since is not None and until is not None and until <= since:
        first, last = names.get("since", "since"), names.get("until", "until")
        raise Refused(
            Text(
                "{last} is not after {first}, so nothing lies between them; exchange them, or leave one out.",
                last=last,
                first=first,
            ),
            last,
        )
    if since is not None and since > now + _CLOCKS_DIFFER:
        first = names.get("since", "since")
        raise Refused(
            Text(
                "{first} is a time to come, so nothing is there yet; give one that is past, or how long ago it was: 2h.",
                first=first,
            ),
            first,
        )
    state, status = parsed.get("state"), parsed.get("status")
    if status is None:
        return
    of_status, of_state = names.get("status", "status"), names.get("state", "state")
    if status.startswith("1"):
        raise Refused(
            Text(
                "{of_status} {status} is of no last answer: those are 2xx to 5xx, a few beyond.",
                of_status=of_status,
                status=status,
            ),
            of_status,
        )
    if status.startswith("2") and state not in (None, State.SUCCEEDED.value):
        raise Refused(
            Text(
                "{of_state} {state} and {of_status} {status} never go together: what was answered with 2xx has succeeded. Leave out {of_state}, or look for another {of_status} (5xx).",
                of_state=of_state,
                state=state,
                of_status=of_status,
                status=status,
            ),
            of_state,
        )


def _loaded(name: str, stored: str) -> object:
    """Return the value of a field of which `_dumped` has made a text."""
    if name in _TIMES:
        return clock.parse(stored)
    return stored == "true" if name == "test" else stored


def _dumped(value: object) -> str:
    if isinstance(value, datetime):
        return clock.text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class _Conditions:
    """What the selections have in common."""

    @classmethod
    def parse(cls, texts: Mapping[str, str | None], now: datetime, names: Mapping[str, str] | None = None) -> Self:
        """Parse a selection from texts by field; None is a field that was left out.

        Raises `Refused`, which names the wrong field as `names` has it. A time such as `2h` is counted back from `now`.
        """
        return cls(**_parse(cls, texts, names or {}, now))


@dataclass(frozen=True, slots=True)
class Selection(_Conditions):
    """Conditions on deliveries; all that are not None must hold.

    `state` may be `held`. `event_type` may be a family (`lead.*`). `status` is a code, a class (`5xx`) or a word of the log. `cause` is a part of any attempt's
    cause, `text` a part of the event's body; case is ignored in both. `since` and `until` bound the delivery's creation. `test`
    is for tests alone, or for all but tests.
    """

    project_id: str | None = None
    webhook_id: str | None = None
    state: str | None = None
    status: str | None = None
    event_type: str | None = None
    event_id: str | None = None
    cause: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    test: bool | None = None

    @classmethod
    def load(cls, stored: Mapping[str, str]) -> Self:
        """Return the selection that `dump` has written."""
        known = {field.name for field in fields(cls)} & set(stored)
        return cls(**{name: _loaded(name, stored[name]) for name in known})  # type: ignore[arg-type]

    def dump(self) -> dict[str, str]:
        """Return the conditions as texts that `parse` accepts, in the order of the fields."""
        by_name = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _dumped(value) for name, value in by_name.items() if value is not None}

    @property
    def is_narrow(self) -> bool:
        """Whether it excludes anything; `until` alone does not count, as it selects all that came before."""
        return any(name != "until" for name in self.dump())

    def check_has_no_text(self) -> None:
        """Raise `Refused` if it has a `text`: a resend would have to search the bodies of the whole log."""
        if self.text is not None:
            raise Refused(Text("Many deliveries are not sent again by a text in their bodies; leave it out."), "text")

    def check_is_narrow(self) -> None:
        """Raise `Refused` if it selects everything, so that nobody resends all deliveries of all projects by mistake."""
        if not self.is_narrow:
            raise Refused(
                Text(
                    "Say which deliveries: by project, webhook, state, status, event type, event, cause, or since when they "
                    "were made. Everything at once is not sent again."
                ),
                "body",
            )


@dataclass(frozen=True, slots=True)
class EventSelection(_Conditions):
    """Conditions on events; all that are not None must hold.

    `event_type` may be a family (`lead.*`). `since` and `until` bound when the event was taken; `text` is a part of its
    body.
    """

    project_id: str | None = None
    event_type: str | None = None
    unmatched: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class AuditSelection(_Conditions):
    """Conditions on entries of the audit trail; all that are not None must hold. `since` and `until` bound when it was done."""

    project_id: str | None = None
    webhook_id: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
