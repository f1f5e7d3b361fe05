"""What is kept of a receiver's answer: bounded, with credentials masked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime

import aiohttp

from .model import Headers

MAX_HEADERS = 128
MAX_HEADER_BYTES = 16 * 1024
MASK = "(masked)"
_MASKED = frozenset(
    (
        "set-cookie",
        "set-cookie2",
        "authorization",
        "proxy-authorization",
        "www-authenticate",
        "proxy-authenticate",
        "authentication-info",
        "proxy-authentication-info",
    )
)
_CUT = ("", "(more headers were not kept)")


def keep_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers worth keeping: at most 128 and 16 KiB of them, credentials masked, always UTF-8."""
    kept: list[tuple[str, str]] = []
    room = MAX_HEADER_BYTES
    for name, value in headers:
        shown = MASK if name.lower() in _MASKED else _as_text(value)
        room -= len(name) + len(shown)
        if room < 0 or len(kept) >= MAX_HEADERS:
            kept.append(_CUT)
            break
        kept.append((_as_text(name), shown))
    return tuple(kept)


def _as_text(value: str) -> str:
    """Show bytes that are no UTF-8 as escapes: aiohttp hands them over as surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def retry_after(written: str | None, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After` header (RFC 9110, section 10.2.3), or None when there is none to follow."""
    if not written:
        return None
    text = written.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


async def read_body(response: aiohttp.ClientResponse, most: int, deadline: float) -> tuple[bytes, bool]:
    """Read at most `most` bytes until the monotonic `deadline`; tell whether there was, or may be, more.

    A body that is read to its end leaves its connection to the next request; any other closes it.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            while size <= most:
                chunk = await response.content.read(most + 1 - size)
                if not chunk:
                    break
                chunks.append(chunk)
                size += len(chunk)
        whole = size <= most
    except (TimeoutError, aiohttp.ClientError, OSError):
        whole = False
    if whole:
        response.release()
    else:
        response.close()
    return b"".join(chunks)[:most], not whole
