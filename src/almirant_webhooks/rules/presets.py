"""Ready templates: what a chat wants, from an event's body. Each is kept by its name and version, as in `slack@1`.

A version is never changed: who chose it gets the same messages after an upgrade. What reads better is a new version, which
who chooses the name gets from then on. `tests/rules/test_presets.py` holds each version to its messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..model import Refused
from .json_text import written
from .messages import describe
from .paths import Value
from .texts import Text

Renderer = Callable[[Value], str]

MAX_DISCORD = 2_000  # UTF-16 units of a message's content
_NAME = re.compile(r"([a-z][a-z-]*)(?:@([0-9]{1,4}))?")
_JSON_WORDS = ("true", "false", "null")
_MARKED = re.compile(r"([\\*_~`|<>\[\]@])")
_CARD_MARKED = re.compile(r"([\\*_~`<>\[\]{}#])")


def is_name(template: str) -> bool:
    """Return whether a text is a name, of a ready template or of none: a JSON text is something else."""
    return template not in _JSON_WORDS and _NAME.fullmatch(template) is not None


def newest(name: str) -> str:
    """Return the name and version that a name stands for, or raise `Refused`. A version that is given stays."""
    match = _NAME.fullmatch(name)
    versions = _VERSIONS.get(match[1], ()) if match else ()
    number = int(match[2]) if match and match[2] else len(versions)
    if not match or not 1 <= number <= len(versions):
        raise Refused(
            Text(
                "There is no ready template {name!r}: there are {names}. One of your own is a JSON text.",
                name=name,
                names=", ".join(NAMES),
            ),
            "template",
        )
    return f"{match[1]}@{number}"


def by_version(template: str) -> Renderer | None:
    """Return the function of a name and version; None where this release has no such version."""
    try:
        name, _, number = newest(template).partition("@")
    except Refused:
        return None
    return _VERSIONS[name][int(number) - 1]


def _escaped(text: str) -> str:
    """Escape what Slack and cards of Google Chat take for markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slack(body: Value) -> str:
    """An incoming webhook's message, by blocks (at most 3,000 characters in a section's text, 10 fields of 2,000)."""
    message = describe(body)

    def mrkdwn(text: str) -> dict[str, Any]:
        return {"type": "mrkdwn", "text": text, "verbatim": True}  # no names or links are made of what others wrote

    title = _escaped(message.title)
    blocks: list[dict[str, Any]] = [{"type": "section", "text": mrkdwn(f"*{title}*")}]
    if message.facts:
        fields = [mrkdwn(f"*{_escaped(label)}*\n{_escaped(value)}") for label, value in message.facts]
        blocks.append({"type": "section", "fields": fields})
    if message.context:
        blocks.append({"type": "context", "elements": [mrkdwn(_escaped(message.context))]})
    return written({"text": title, "blocks": blocks})


def _discord(body: Value) -> str:
    """A webhook's message in Markdown, which names nobody (at most 2,000 characters)."""
    message = describe(body)
    lines = [f"**{_MARKED.sub(_BACKSLASH, message.title)}**"]
    context = f"-# {_MARKED.sub(_BACKSLASH, message.context)}" if message.context else ""
    room = MAX_DISCORD - _units(lines[0]) - _units(context) - 1
    for label, value in message.facts:
        line = f"{_MARKED.sub(_BACKSLASH, label)}: {_MARKED.sub(_BACKSLASH, value)}"
        room -= _units(line) + 1
        if room < 0:
            break
        lines.append(line)
    content = "\n".join(filter(None, (*lines, context)))
    return written({"content": content, "allowed_mentions": {"parse": []}})


def _units(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def _teams(body: Value) -> str:
    """A message for a workflow that takes webhook requests: an Adaptive Card (at most 28 KB)."""
    message = describe(body)

    def text(words: str) -> str:
        return _CARD_MARKED.sub(_BACKSLASH, words)

    blocks: list[dict[str, Any]] = [
        {"type": "TextBlock", "text": text(message.title), "weight": "Bolder", "size": "Medium", "wrap": True}
    ]
    if message.facts:
        facts = [{"title": text(label), "value": text(value)} for label, value in message.facts]
        blocks.append({"type": "FactSet", "facts": facts})
    if message.context:
        blocks.append(
            {"type": "TextBlock", "text": text(message.context), "isSubtle": True, "size": "Small", "wrap": True}
        )
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return written({"type": "message", "attachments": [attachment]})


def _google_chat(body: Value) -> str:
    """A space's message with a card, whose text is a subset of HTML (at most 32,000 bytes, 100 widgets)."""
    message = describe(body)
    widgets: list[dict[str, Any]] = [{"textParagraph": {"text": f"<b>{_escaped(message.title)}</b>"}}]
    widgets += [
        {"decoratedText": {"topLabel": _escaped(label), "text": _escaped(value), "wrapText": True}}
        for label, value in message.facts
    ]
    if message.context:
        widgets.append({"textParagraph": {"text": f"<i>{_escaped(message.context)}</i>"}})
    card = {"cardId": "event", "card": {"sections": [{"widgets": widgets}]}}
    return written({"fallbackText": message.title, "cardsV2": [card]})


_BACKSLASH = r"\\\1"
# Each with its versions, the oldest first.
_VERSIONS: dict[str, tuple[Renderer, ...]] = {
    "slack": (_slack,),
    "discord": (_discord,),
    "teams": (_teams,),
    "google-chat": (_google_chat,),
}
NAMES = tuple(_VERSIONS)
TITLES = {"slack": "Slack", "discord": "Discord", "teams": "Microsoft Teams", "google-chat": "Google Chat"}


def title(template: str) -> str:
    """Return what people call a ready template; empty for a template that is none."""
    return TITLES.get(template.partition("@")[0], "")
