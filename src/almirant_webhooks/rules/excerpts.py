"""What a receiver says of itself in an answer, as one short line: its error's own words, not the whole body."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

MAX_LENGTH = 160
_MAX_READ = 64 * 1024
_MAX_HTML = 4096  # an element without an end is looked for up to here, each time it begins
_MAX_DEPTH = 4
# Where programs put the words of an error, the most telling first: RFC 9457 has `detail` and `title`, OAuth the third.
_NAMES = ("message", "detail", "error_description", "error", "errors", "reason", "title", "description", "msg")
_TITLE = re.compile(r"<title[^>]*>([^<]{1,500})", re.IGNORECASE)
_NOT_TEXT = re.compile(r"<(script|style)\b.{0,4096}?</\1\s*>|<[^<>]{0,4096}>", re.IGNORECASE | re.DOTALL)
_LOOKS_LIKE_HTML = re.compile(r"\s*<(?:!doctype|html|head|body|h1|p|div)\b", re.IGNORECASE)


def excerpt(body: str) -> str:
    """Return the error's words in the text of an answer's body, on one line and at most 160 characters long.

    Empty if the answer has no words: no body, or JSON without a text that tells of an error.
    """
    text = body[:_MAX_READ]
    try:
        words = next(_words(json.loads(text), 0), "")
    except (ValueError, RecursionError):
        words = _of_html(text[:_MAX_HTML]) if _LOOKS_LIKE_HTML.match(text) else text
    line = " ".join(words.split())
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1].rstrip()}…"


def _words(value: object, depth: int) -> Iterator[str]:
    """Yield the texts that tell of an error, the most telling first."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, list):
        for item in value[:10]:
            yield from _words(item, depth + 1)
    elif isinstance(value, dict):
        for name in _NAMES:
            if name in value:
                yield from _words(value[name], depth + 1)


def _of_html(text: str) -> str:
    title = _TITLE.search(text)
    return title[1] if title else _NOT_TEXT.sub(" ", text)
