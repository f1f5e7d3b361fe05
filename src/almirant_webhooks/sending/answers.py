"""Answers of receivers, and what the log keeps of their headers: bounded, and with credentials masked."""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from .. import clock
from ..model import MASK, Headers

MAX_HEADERS = 128
MAX_HEADER_BYTES = 16 * 1024
MAX_SECONDS = 999_999_999
_CREDENTIAL = re.compile(
    rb"auth(?!or)|cookie|token|secret|api-?key|password|passwd|credential|session|signature", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CUT = ("", "(more headers were not kept)")

Fields = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """A receiver's answer: its final head, and as much of its body as is kept (`whole`: all of it).

    `head_at` is the time in monotonic seconds at which the head was complete.
    """

    status: int
    fields: Fields
    body: bytes
    whole: bool
    head_at: float


@lru_cache(maxsize=64)  # a receiver's answers within a second have the same ones
def keep_headers(fields: tuple[tuple[bytes, bytes], ...]) -> Headers:
    """Return the headers to keep: at most 128 of them and 16 KiB, with credentials masked, as UTF-8."""
    headers: list[tuple[str, str]] = []
    room = MAX_HEADER_BYTES
    for name, value in fields:
        text = MASK if _is_credential(name or value) else _as_text(value)
        room -= len(name) + len(text)
        if room < 0 or len(headers) >= MAX_HEADERS:
            headers.append(_CUT)
            break
        headers.append((_name(name), text))
    return tuple(headers)


def _is_credential(name: bytes) -> bool:
    return _has_credential(name) if len(name) <= 64 else bool(_CREDENTIAL.search(name))


@lru_cache(maxsize=1024)
def _has_credential(name: bytes) -> bool:
    return bool(_CREDENTIAL.search(name))


def _name(name: bytes) -> str:
    return _short_name(name) if len(name) <= 64 else _as_text(name)


@lru_cache(maxsize=1024)
def _short_name(name: bytes) -> str:
    return _as_text(name)


def _as_text(value: bytes) -> str:
    """Return text in which control characters, and bytes that are not UTF-8, are escapes."""
    text = value.strip(b" \t").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else _CONTROL.sub(lambda char: f"\\x{ord(char[0]):02x}", text)


def field(fields: Fields, name: bytes) -> str | None:
    """Return the value of the first header with a name (in lower case), or None."""
    return next((_as_text(value) for field_name, value in fields if field_name.lower() == name), None)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for (RFC 9110, section 10.2.3), or None without a valid one."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text.lstrip("0")[:10] or "0"), MAX_SECONDS))
    moment = clock.http_date(text)
    return None if moment is None else max(0.0, (moment - now).total_seconds())
