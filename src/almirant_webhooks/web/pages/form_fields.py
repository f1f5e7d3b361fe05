"""The form of a webhook: the events to choose from by family, what was typed, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Protocol

from ...model import MASK, OPTIONS, Webhook
from ...rules import conditions, presets, versions
from ...rules.conditions import Typed
from ...rules.event_types import NOTICE_PREFIX, is_notice, patterns_for
from ...rules.filters import MAX_CONDITIONS
from ...rules.headers import MAX_HEADERS

EMPTY_ROWS = 2  # of a filter, for a browser without JavaScript
_TEXTS = tuple(name for name in OPTIONS if name not in ("filter", "headers"))  # options that are one field each


class Fields(Protocol):
    """A form as it was sent."""

    def get(self, name: str, default: str) -> Any:
        """Return a field's first value."""

    def __contains__(self, name: object) -> bool:
        """Tell whether a field is there."""

    def getall(self, name: str, default: Sequence[str]) -> Sequence[Any]:
        """Return every value of a field."""


@dataclass(frozen=True, slots=True)
class Family:
    """Event types that begin with the same word, and the pattern that takes them all; `*` does not take notices in."""

    name: str
    pattern: str
    types: tuple[str, ...]
    is_of_notices: bool


@dataclass
class WebhookForm:
    """What was typed, field by field as text, and a sentence beside each field that is wrong.

    `version` is of the settings as they were when the form was shown.
    """

    project_id: str = ""
    url: str = ""
    description: str = ""
    events: tuple[str, ...] = ()
    own_secret: bool = False
    secret: str = ""
    options: dict[str, str] = field(default_factory=lambda: dict.fromkeys(_TEXTS, ""))
    headers: tuple[tuple[str, str], ...] | None = None
    conditions: list[Typed] | None = None  # rows of the filter; None: it was not in the form
    version: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    def ready_template(self) -> str:
        """Return the name of the ready template that is chosen; empty for none, or one of the webhook's own."""
        return self.options.get("template", "") if presets.is_name(self.options.get("template", "")) else ""

    def typed_options(self, stored: Iterable[str] = ()) -> dict[str, object]:
        """Return the options that the form has, None for each that was left empty.

        A header of the names `stored` that the form no longer has is taken away.
        """
        options: dict[str, object] = {name: text or None for name, text in self.options.items()}
        if self.conditions is not None:
            options["filter"] = [row for row in self.conditions if row.field or row.value] or None
        if self.headers is None:
            return options
        names = {name.lower() for name, _ in self.headers}
        gone = [(name, None) for name in stored if name.lower() not in names]
        return {**options, "headers": [*self.headers, *gone]}

    def rows(self) -> list[Typed]:
        """Return the rows of the filter to show: those that are filled in, and a few empty ones."""
        filled = [row for row in self.conditions or () if row.field or row.value]
        return filled + [Typed("", "=", "")] * (EMPTY_ROWS if len(filled) < MAX_CONDITIONS else 0)

    def header_rows(self) -> list[tuple[str, str]]:
        """Return a name and a value for each row of headers: those of the form, and empty ones."""
        headers = self.headers or ()
        return [*headers, *[("", "")] * (MAX_HEADERS - len(headers))]


def families(catalogue: Iterable[str]) -> list[Family]:
    """Group event types by their first word, in the catalogue's order."""
    groups: dict[str, list[str]] = {}
    for event_type in catalogue:
        groups.setdefault(event_type.split(".")[0], []).append(event_type)
    return [Family(name, f"{name}.*", tuple(types), f"{name}." == NOTICE_PREFIX) for name, types in groups.items()]


def others(chosen: Iterable[str], groups: Iterable[Family]) -> list[str]:
    """Return the chosen patterns that have no box of their own: of an older catalogue, or below a family."""
    boxes = {"*", *(box for group in groups for box in (group.pattern, *group.types))}
    return [pattern for pattern in chosen if pattern not in boxes]


def covering(chosen: Iterable[str]) -> tuple[str, ...]:
    """Drop the patterns that another chosen one takes in already: a family's single types, and all but notices beside `*`."""
    patterns = tuple(dict.fromkeys(chosen))
    return tuple(pattern for pattern in patterns if not _wider(pattern) & set(patterns))


def _wider(pattern: str) -> set[str]:
    if pattern == "*":
        return set()
    wider = set(patterns_for(pattern.removesuffix(".*"))[1:])
    return wider - {"*"} if is_notice(pattern) else wider


def of_webhook(webhook: Webhook) -> WebhookForm:
    """Fill the form from a webhook; its secret stays where it is."""
    values = {name: getattr(webhook, name) for name in _TEXTS}
    options = {name: "true" if value is True else str(value or "") for name, value in values.items()}
    return WebhookForm(
        webhook.project_id,
        webhook.url,
        webhook.description,
        webhook.events,
        options=options,
        headers=tuple((webhook.headers or {}).items()),
        conditions=[Typed(row["field"], row["op"], conditions.value_text(row)) for row in webhook.filter or ()],
        version=versions.of_settings(webhook),
    )


def read(fields: Fields, project_id: str | None) -> WebhookForm:
    """Read the form as sent; the project of a session that has one is not asked for."""
    return WebhookForm(
        project_id=project_id if project_id is not None else _text(fields, "project_id").strip(),
        url=_text(fields, "url").strip(),
        description=_text(fields, "description").strip(),
        events=covering(str(pattern) for pattern in fields.getall("events", ())),
        own_secret=_text(fields, "secret_kind") == "own",
        secret=_text(fields, "secret"),
        options=_options(fields),
        headers=_headers(fields) if "header_name" in fields else None,
        conditions=_conditions(fields) if "filter" in fields else None,
        version=_text(fields, "version"),
    )


def _headers(fields: Fields) -> tuple[tuple[str, str], ...]:
    """Return the rows that are filled in. A row without a name whose value is still the mask is one that was taken away."""
    names = [str(name).strip() for name in fields.getall("header_name", ())]
    values = [str(value) for value in fields.getall("header_value", ())]
    rows = zip_longest(names, values, fillvalue="")
    return tuple((name, value) for name, value in rows if name or value not in ("", MASK))


def _options(fields: Fields) -> dict[str, str]:
    """Return the options that are texts; a ready template that is chosen goes before a text, which the form then hides."""
    # A form has nothing for a box that is not ticked, but a field that says it has the box. Its lines end in CR and LF.
    sent = [name for name in _TEXTS if name in fields or f"{name}_box" in fields]
    options = {name: _text(fields, name).replace("\r\n", "\n").strip() for name in sent}
    if ready := _text(fields, "ready_template"):
        options["template"] = ready
    return options


def _conditions(fields: Fields) -> list[Typed]:
    columns = [fields.getall(f"filter_{name}", ()) for name in Typed._fields]
    return [Typed(*(str(value).strip() for value in row)) for row in zip_longest(*columns, fillvalue="")]


def _text(fields: Fields, name: str) -> str:
    return str(fields.get(name, ""))
