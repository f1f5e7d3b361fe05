"""How values are written on the pages: times in words, sizes, payloads, and a request as a command."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from ... import clock
from ...rules.texts import Text, plural

_MAX_DEPTH = 64  # deeper JSON is shown as it was sent: each level indents every line below it
_MOST_INDENTED = 64 * 1024  # characters; what would become longer is shown as it was sent
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
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


def utc(moment: str) -> str:
    """Write a stored time where no script makes it the reader's: `2026-11-24 21:16:51 UTC`."""
    return f"{day_and_time(moment)} UTC"


def ago(moment: str, now: datetime) -> str:
    """Write in words how far a stored time is from now: `3 min ago`, `in 2 hours`, `just now`."""
    try:
        seconds = (now - clock.parse(moment)).total_seconds()
    except ValueError:  # the producer's word: SQLite has a year 0000
        return ""
    span = abs(seconds)
    words = next((count(int(span // size)) for size, count in _COUNTS if span >= size), _seconds(int(span)))
    if seconds < 0:
        return Text("in {time}", time=words) if span >= 1 else Text("now")
    return Text("{time} ago", time=words) if span >= 2 else Text("just now")


def _days(number: int) -> Text:
    return plural("{number} day", "{number} days", number)


def _hours(number: int) -> Text:
    return plural("{number} hour", "{number} hours", number)


def _minutes(number: int) -> Text:
    return Text("{number} min", number=number)


def _seconds(number: float) -> Text:
    return Text("{number} s", number=number)


_COUNTS = ((86_400, _days), (3_600, _hours), (60, _minutes))


def took(milliseconds: int | None) -> str:
    """Write a duration as people compare them: `84 ms`, `1.25 s`, `10.0 s`."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return Text("{number} ms", number=milliseconds)
    if milliseconds < 10_000:
        return Text("{number:.2f} s", number=milliseconds / 1000)
    return Text("{number:.1f} s", number=milliseconds / 1000)


def size(count: int) -> Text:
    """Write a number of bytes: `312 B`, `16.0 KiB`."""
    return Text("{number} B", number=count) if count < 1024 else Text("{number:.1f} KiB", number=count / 1024)


def number(count: float) -> str:
    """Write a whole number with thin spaces between its thousands."""
    return f"{count:,.0f}".replace(",", "\u202f")


def percent(share: float | None) -> str:
    """Write a share: `0 %`, `0.3 %`, `12 %`."""
    if share is None:
        return ""
    hundredths = share * 100
    if 0 < hundredths < 10:
        return Text("{number:.1f}\u202f%", number=hundredths)
    return Text("{number:.0f}\u202f%", number=hundredths)


def pretty(text: str) -> str:
    """Indent JSON and keep every token as its producer wrote it.

    What is no JSON, very deep, or would become very long is left as it is.
    """
    if len(text) > _MOST_INDENTED:
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _indented(text)


def beginning(text: str, most: int) -> str:
    """Indent the first `most` characters of JSON."""
    return _indented(text[:most])


def _indented(text: str) -> str:
    made: list[str] = []
    depth, size, previous = 0, 0, ""
    for found in _TOKEN.finditer(text):
        part = found[0]
        depth -= part in "}]"
        if (part in "}]" and previous not in "{[") or (part not in "}]" and previous in ("{", "[", ",")):
            made.append("\n" + "  " * depth)
            size += 1 + 2 * depth
        depth += part in "{["
        made.append(part + (" " if part == ":" else ""))
        size += len(part)
        if depth > _MAX_DEPTH or size > _MOST_INDENTED:
            return text
        previous = part
    return "".join(made)


def curl(url: str, headers: Iterable[tuple[str, str]], body: str, most: int | None = None) -> str:
    """Write a request as one command for a POSIX shell, with its signatures, each part quoted.

    A body of more than `most` characters is read from the file `body.json`.
    """
    parts = [f"curl --globoff --request POST --url {shlex.quote(url)}"]
    parts += [
        f"--header {shlex.quote(f'{name}: {value}')}" for name, value in headers if name.lower() not in _LEFT_TO_CURL
    ]
    parts.append(f"--data-raw {shlex.quote(body)}" if most is None or len(body) <= most else "--data-binary @body.json")
    return " \\\n  ".join(parts)


def span(seconds: float) -> Text:
    """Write how long something takes in words: `0.4 s`, `5 min`, `2 hours`."""
    if seconds < 10:
        return Text("{number:.1f} s", number=seconds)
    return next((count(round(seconds / size)) for size, count in _COUNTS if seconds >= size), _seconds(round(seconds)))
