"""Events as people read them in a chat: a headline and a few facts, in plain text of bounded length."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from .event_types import NOTICE_PREFIX
from .json_text import as_json
from .paths import MISSING, Number, Value, look_up

MAX_TITLE = 200  # characters
MAX_LABEL = 40
MAX_VALUE = 200
MAX_FACTS = 8
_UNSEEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]+")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?Z")
_NAMES = ("name", "title", "key", "id")

Fact = tuple[str, str]


class Message(NamedTuple):
    """What is said of one event; `context` has its project, type and time."""

    title: str
    facts: tuple[Fact, ...]
    context: str


def describe(body: Value) -> Message:
    """Return what is said of an event, by its body as `paths.read` returns it. Any body will do."""
    kind = _text(body, "type")
    title, facts = _TELL.get(kind.removeprefix(NOTICE_PREFIX), _other)(body)
    first = {label: value for label, value in reversed(facts) if label and value}  # of a label's facts the first counts
    labels = [label for label in dict.fromkeys(label for label, _ in facts) if label in first][:MAX_FACTS]
    chosen = [(_cut(label, MAX_LABEL), _cut(first[label], MAX_VALUE)) for label in labels]
    context = " · ".join(filter(None, (_text(body, "projectId"), kind, _text(body, "timestamp"))))
    return Message(_cut(title, MAX_TITLE), tuple(chosen), _cut(context, MAX_VALUE))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _shown(value: Value) -> str:
    """Return a value as one line: of an object its name, of an array its items, of a time day and minute."""
    if type(value) is str:
        begin = value[: 2 * MAX_VALUE]
        line = " ".join((begin if begin.isprintable() else _UNSEEN.sub(" ", begin)).split())
        time = _TIME.fullmatch(line)
        return f"{time[1]} {time[2]} UTC" if time else line
    if type(value) is Number:
        return str(value)[: 2 * MAX_VALUE]
    if value is MISSING or value is None:
        return ""
    if type(value) is list:
        return ", ".join(filter(None, (_shown(item) for item in value[:MAX_FACTS] if type(item) is not list)))
    if type(value) is dict:
        return next((text for name in _NAMES if (text := _scalar(value.get(name)))), "")
    return "yes" if value else "no"


def _scalar(value: Value) -> str:
    return "" if type(value) in (dict, list) else _shown(value)


def _text(body: Value, path: str) -> str:
    return _shown(look_up(body, tuple(path.split("."))))


def _fact(body: Value, label: str, path: str) -> Fact:
    return label, _text(body, path)


def _changes(body: Value) -> Iterator[Fact]:
    """Yield the fields that a change has changed, each with what it was and what it is."""
    changes = look_up(body, ("data", "changes"))
    for name, change in list(changes.items())[:MAX_FACTS] if type(changes) is dict else ():
        label = _shown(name[:1].upper() + name[1:])
        if type(change) is dict and {"from", "to"} <= change.keys():
            yield label, f"{_shown(change['from']) or 'nothing'} → {_shown(change['to']) or 'nothing'}"
        else:
            yield label, _shown(change)


def _named(words: str, *names: str) -> str:
    return f"{words}: {' '.join(names)}" if any(names) else words


def _work_item(words: str) -> Callable[[Value], tuple[str, list[Fact]]]:
    def tell(body: Value) -> tuple[str, list[Fact]]:
        item = "data.workItem"
        names = [name for name in (_text(body, f"{item}.key"), _text(body, f"{item}.title")) if name]
        return _named(words, *(names or [_text(body, f"{item}.id")])), [
            _fact(body, "From", "data.from"),
            _fact(body, "To", "data.to"),
            *_changes(body),
            _fact(body, "Priority", f"{item}.priority"),
            _fact(body, "Column", f"{item}.column"),
            _fact(body, "By", "data.actor"),
        ]

    return tell


def _lead(words: str) -> Callable[[Value], tuple[str, list[Fact]]]:
    def tell(body: Value) -> tuple[str, list[Fact]]:
        lead = "data.lead"
        name, company = _text(body, f"{lead}.name") or _text(body, f"{lead}.id"), _text(body, f"{lead}.company")
        worth = " ".join(filter(None, (_text(body, f"{lead}.value"), _text(body, f"{lead}.currency"))))
        return _named(words, *filter(None, (name, company and f"({company})"))), [
            _fact(body, "From", "data.from"),
            _fact(body, "To", "data.to"),
            *_changes(body),
            ("Value", worth),
            ("Stage", "" if _text(body, "data.to") else _text(body, f"{lead}.stage")),
            _fact(body, "Source", "data.source"),
            _fact(body, "By", "data.actor"),
        ]

    return tell


def _sprint(words: str) -> Callable[[Value], tuple[str, list[Fact]]]:
    def tell(body: Value) -> tuple[str, list[Fact]]:
        sprint = "data.sprint"
        days = " to ".join(filter(None, (_text(body, f"{sprint}.startsOn"), _text(body, f"{sprint}.endsOn"))))
        return _named(words, _text(body, f"{sprint}.name") or _text(body, f"{sprint}.id")), [
            ("Days", days),
            _fact(body, "Completed", "data.completed"),
            _fact(body, "Carried over", "data.carriedOver"),
            _fact(body, "By", "data.actor"),
        ]

    return tell


def _host(body: Value) -> str:
    return _text(body, "data.webhook.host") or _text(body, "data.webhook.id") or "a webhook"


def _failing(body: Value) -> tuple[str, list[Fact]]:
    return f"Deliveries to {_host(body)} are failing", [
        _fact(body, "Since", "data.failingSince"),
        _fact(body, "Failures in a row", "data.failuresInARow"),
        ("Last delivered", _text(body, "data.lastSuccessAt") or "never"),
        _fact(body, "Webhook", "data.webhook.id"),
    ]


def _recovered(body: Value) -> tuple[str, list[Fact]]:
    return f"Deliveries to {_host(body)} arrive again", [
        _fact(body, "Last delivered", "data.lastSuccessAt"),
        _fact(body, "Webhook", "data.webhook.id"),
    ]


def _disabled(body: Value) -> tuple[str, list[Fact]]:
    since = _fact(body, "Failing since", "data.failingSince")
    why, what = (
        ("everything failed", "Mend the receiver")
        if since[1]
        else ("its secret cannot be opened", "Give it a new secret")
    )
    return f"The webhook to {_host(body)} was switched off, as {why}", [
        since,
        ("Last delivered", _text(body, "data.lastSuccessAt") or "never"),
        _fact(body, "Cause", "data.cause"),
        _fact(body, "Webhook", "data.webhook.id"),
        ("What to do", f"{what}, then enable the webhook: what came meanwhile is held."),
    ]


def _delivery_failed(body: Value) -> tuple[str, list[Fact]]:
    count = _text(body, "data.count")
    many = count not in ("", "1")
    return f"{count} deliveries to {_host(body)} have failed" if many else f"A delivery to {_host(body)} has failed", [
        _fact(body, "Newest" if many else "Event", "data.delivery.eventType"),
        _fact(body, "Attempts", "data.delivery.attempts"),
        _fact(body, "Cause", "data.delivery.lastAttempt.cause"),
        _fact(body, "Event id", "data.delivery.eventId"),
        _fact(body, "Delivery", "data.delivery.id"),
        _fact(body, "Webhook", "data.webhook.id"),
    ]


def _other(body: Value) -> tuple[str, list[Fact]]:
    """Tell of a type outside of the catalogue: what its payload has at first sight."""
    data = look_up(body, ("data",))
    facts = [
        (_shown(name), "" if value is None else _shown(value) or _shown(as_json(value)))
        for name, value in (list(data.items())[:MAX_FACTS] if type(data) is dict else ())
    ]
    return _text(body, "type") or "An event", facts


_TELL: dict[str, Callable[[Value], tuple[str, list[Fact]]]] = {
    "work_item.created": _work_item("Work item created"),
    "work_item.updated": _work_item("Work item updated"),
    "work_item.moved": _work_item("Work item moved"),
    "work_item.archived": _work_item("Work item archived"),
    "lead.created": _lead("New lead"),
    "lead.updated": _lead("Lead updated"),
    "lead.stage_changed": _lead("Lead changed stage"),
    "sprint.created": _sprint("Sprint created"),
    "sprint.closed": _sprint("Sprint closed"),
    "webhook.failing": _failing,
    "webhook.recovered": _recovered,
    "webhook.disabled": _disabled,
    "delivery.failed": _delivery_failed,
}
