"""What each chat takes, by its published rules; a message that it would refuse fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any


def check_slack(message: dict[str, Any]) -> None:
    """3,000 characters in a section, 10 fields of 2,000, 50 blocks; no `<` that could be a mention or a link."""
    assert set(message) == {"text", "blocks"}
    assert 1 <= len(message["blocks"]) <= 50
    texts = [message["text"]]
    for block in message["blocks"]:
        assert block["type"] in ("section", "context")
        if "text" in block:
            assert len(block["text"]["text"]) <= 3_000
            texts.append(block["text"]["text"])
        inner = block.get("fields", block.get("elements", []))
        assert len(inner) <= 10
        for field in inner:
            assert field["type"] == "mrkdwn"
            assert 1 <= len(field["text"]) <= 2_000
            texts.append(field["text"])
    for text in texts:
        assert "<" not in text
        assert ">" not in text
        assert not re.search(r"&(?!amp;|lt;|gt;)", text)
    assert sum(map(len, texts)) < 13_000  # what was seen to be taken


def check_discord(message: dict[str, Any]) -> None:
    """2,000 characters, nobody is mentioned, and what others wrote is no Markdown."""
    assert set(message) == {"content", "allowed_mentions"}
    assert message["allowed_mentions"] == {"parse": []}
    assert 1 <= len(message["content"].encode("utf-16-le")) // 2 <= 2_000
    bare = re.sub(r"\\[^0-9A-Za-z\s]", "", message["content"])
    title, *lines = bare.split("\n")
    assert not re.search(r"[*_~`|<>@\[\]]", title.removeprefix("**").removesuffix("**"))
    for line in lines:
        assert not re.search(r"[*_~`|<>@\[\]]", line)


def check_teams(message: dict[str, Any]) -> None:
    """One Adaptive Card, 28 KB, its texts no Markdown and no functions of cards."""
    assert len(json.dumps(message, ensure_ascii=False).encode()) <= 28 * 1024
    (attachment,) = message["attachments"]
    assert (message["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    for block in card["body"]:
        texts = (
            [block["text"]]
            if block["type"] == "TextBlock"
            else [text for fact in block["facts"] for text in fact.values()]
        )
        for text in texts:
            bare = re.sub(r"\\[^0-9A-Za-z\s]", "", text)
            assert not re.search(r"[*_~`\[\]{}<>#]", bare)


def check_google_chat(message: dict[str, Any]) -> None:
    """32,000 bytes, 100 widgets, and no tag of HTML but ours."""
    assert len(json.dumps(message, ensure_ascii=False).encode()) <= 32_000
    (card,) = message["cardsV2"]
    (section,) = card["card"]["sections"]
    assert 1 <= len(section["widgets"]) <= 100
    for widget in section["widgets"]:
        text = str(widget.get("textParagraph", widget.get("decoratedText")))
        assert "<" not in re.sub(r"</?[bi]>", "", text)
    assert 1 <= len(message["fallbackText"]) <= 200


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "slack": check_slack, "discord": check_discord, "teams": check_teams, "google-chat": check_google_chat,
}  # fmt: skip
