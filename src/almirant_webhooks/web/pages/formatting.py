"""How values are written on the pages: times in words, sizes, payloads, and a request as a command."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from ... import clock

_MAX_DEPTH = 64  # deeper JSON is shown as it was sent: each level indents every line below it
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "min"))
_LEFT_TO_CURL = frozenset({"host", "content-length"})
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_PLAIN = re.compile(r"[\t\n\x20-\x7e]*")


def visible(text: str) -> str:
    """Write control characters and those that turn the direction of a text as escapes; lines and tabs stay."""
    if _PLAIN.fullmatch(text):
        return text
    text = text.replace("\r\n", "\n")
    return "".join(_escape(char) if unicodedata.category(char) in _INVISIBLE else char for char in text)


def _escape(char: str) -> str:
    return char if char in "\n\t\u200d" else char.encode("unicode_escape").decode("ascii")


def day_and_time(moment: str) -> str:
    """Write a stored time to the second: `2026-11-24 21:16:51`."""
    return f"{moment[:10]} {moment[11:19]}"


def ago(moment: str, now: datetime) -> str:
    """Write in words how far a stored time is from now: `3 min ago`, `in 2 hours`, `just now`."""
    try:
        seconds = (now - clock.parse(moment)).total_seconds()
    except ValueError:  # the producer's word: SQLite has a year 0000
        return ""
    span = abs(seconds)
    words = next((_count(int(span // size), unit) for size, unit in _UNITS if span >= size), f"{int(span)} s")
    if seconds < 0:
        return f"in {words}" if span >= 1 else "now"
    return f"{words} ago" if span >= 2 else "just now"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 or unit == "min" else f"{number} {unit}s"


def took(milliseconds: int | None) -> str:
    """Write a duration as people compare them: `84 ms`, `1.25 s`, `10.0 s`."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.{2 if milliseconds < 10_000 else 1}f} s"


def size(count: int) -> str:
    """Write a number of bytes: `312 B`, `16.0 KiB`."""
    return f"{count} B" if count < 1024 else f"{count / 1024:.1f} KiB"


def number(count: float) -> str:
    """Write a whole number with thin spaces between its thousands."""
    return f"{count:,.0f}".replace(",", "\u202f")


def pretty(text: str) -> str:
    """Indent JSON and keep every token as its producer wrote it; what is no JSON, or very deep, is left as it is."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    lines: list[str] = []
    line, depth, previous = "", 0, ""
    for part in _TOKEN.findall(text):
        if part in "}]":
            depth -= 1
            if previous not in "{[":
                lines.append(line)
                line = "  " * depth
        elif previous in ("{", "[", ","):
            lines.append(line)
            line = "  " * depth
        if part in "{[":
            depth += 1
            if depth > _MAX_DEPTH:
                return text
        line += part + (" " if part == ":" else "")
        previous = part
    return "\n".join([*lines, line])


def curl(url: str, headers: Iterable[tuple[str, str]], body: str) -> str:
    """Write a request as one command for a POSIX shell, with its signatures, each part quoted."""
    parts = [f"curl --globoff --request POST --url {shlex.quote(url)}"]
    parts += [
        f"--header {shlex.quote(f'{name}: {value}')}" for name, value in headers if name.lower() not in _LEFT_TO_CURL
    ]
    parts.append(f"--data-raw {shlex.quote(body)}")
    return " \\\n  ".join(parts)


def host(url: str) -> str:
    """Return a URL without its scheme, for a place where room is short."""
    return url.partition("://")[2] or url
