"""A receiver's answer: what reading it may cost, and what is kept of it, bounded and with credentials masked."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp import helpers
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from .model import Headers

MAX_HEADERS = 128
MAX_HEADER_BYTES = 16 * 1024
MAX_HEAD = 256 * 1024  # bytes until the headers end, those of interim (1xx) answers included
MAX_INTERIM = 32
MASK = "(masked)"
_CREDENTIAL = re.compile(
    r"auth(?!or)|cookie|token|secret|api-?key|password|passwd|credential|session|signature", re.IGNORECASE
)
_END_OF_HEAD = re.compile(rb"\n\r?\n")  # six to thirty times as fast as one that begins with "\r?"
_INTERIM = f"more than {MAX_INTERIM} interim answers (1xx)"
_CLOSED = "the connection closed within the answer"
_CUT = ("", "(more headers were not kept)")


class AnswerRefused(aiohttp.ClientError):
    """An answer that is given up; its text is the cause in plain words."""


class AnswerHandler(ResponseHandler):
    """aiohttp's reading of an answer within bounds: of the head, of interim answers, and of what a body is wrapped in.

    The head is handed to the parser apart from what follows, so that a whole head counts whatever comes after it.
    """

    was_used = False
    _awaits_head = False
    _seen = b""

    def begin(self) -> None:
        """Begin to wait for the answer to a request."""
        self.was_used = self._awaits_head = True
        self._seen = b""
        self._left = MAX_HEAD
        self._interim = 0
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=65_536,  # the whole head is bounded here
            max_field_size=65_536,
            max_headers=512,
        )

    def close(self) -> None:
        """Drop the connection at once: a peer that does not read would hold what is still to be written for ever."""
        self.abort()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take a head that was parsed: interim ones are dropped, and so is a second answer to one request."""
        if not self._awaits_head:
            self.force_close()
        elif data[0].code >= 200 or data[0].code in (0, 101):
            self._awaits_head = False
            super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Count what comes, and parse it; nothing comes when a parser that was paused goes on."""
        if not data:
            super().data_received(data)
        while data and self._awaits_head and self._exception is None:
            data = self._read_head(data)
        if data and not self._awaits_head:
            self._read_on(data)

    def _read_head(self, data: bytes) -> bytes:
        """Parse up to the end of a head, or all; return the rest."""
        end = _END_OF_HEAD.search(self._seen + data)
        length = end.end() - len(self._seen) if end else len(data)
        self._interim += end is not None
        self._left -= length
        if self._left < 0 or self._interim > MAX_INTERIM:
            self._refuse(f"the answer's head is larger than {MAX_HEAD // 1024} KiB" if self._left < 0 else _INTERIM)
            return b""
        self._seen = b"" if end else (self._seen + data)[-3:]
        super().data_received(data[:length])
        return data[length:]

    def _read_on(self, data: bytes) -> None:
        payload = self._payload
        if payload is None or payload.is_eof():  # nobody asked for more
            self.force_close()
            if self.transport is not None:
                self.transport.abort()
            return
        self._left -= len(data)
        super().data_received(data)
        # Chunks' sizes and trailers may be some times the body that they wrap, not more.
        if self._exception is not None or self._left + 8 * payload.total_bytes < -MAX_HEAD:
            if not payload.is_eof():
                helpers.set_exception(payload, aiohttp.ClientPayloadError())
            self._refuse(_CLOSED)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell a connection that closes within a head from one that was gone before any byte of it."""
        if self._awaits_head and self._left < MAX_HEAD and self._exception is None:
            self.set_exception(AnswerRefused(_CLOSED))
        super().connection_lost(exc)

    def set_exception(self, exc: Any, exc_cause: BaseException = helpers._EXC_SENTINEL) -> None:
        """Remember why an answer was given up, without the frames that it was met in."""
        super().set_exception(exc, exc_cause)
        forget_frames(exc if isinstance(exc, BaseException) else exc_cause)

    def _refuse(self, cause: str) -> None:
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(AnswerRefused(cause))


def forget_frames(error: BaseException | None) -> None:
    """Cut an error from the frames that it came through: they hold the connection, which holds the error.

    Left to the garbage collector, which comes after tens of thousands of objects, each answer that fails would keep
    its buffers for minutes.
    """
    for _ in range(10):  # causes of causes; a chain may be a ring
        if error is None:
            return
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def keep_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers worth keeping: at most 128 and 16 KiB of them, credentials masked, always UTF-8."""
    kept: list[tuple[str, str]] = []
    room = MAX_HEADER_BYTES
    for name, value in headers:
        shown = MASK if _is_credential(name) else _as_text(value)
        room -= len(name) + len(shown)
        if room < 0 or len(kept) >= MAX_HEADERS:
            kept.append(_CUT)
            break
        kept.append((_as_text(name), shown))
    return tuple(kept)


def _is_credential(name: str) -> bool:
    return _has_credential(name) if len(name) <= 64 else bool(_CREDENTIAL.search(name))


@lru_cache(maxsize=1024)
def _has_credential(name: str) -> bool:
    return bool(_CREDENTIAL.search(name))


def _as_text(value: str) -> str:
    """Show bytes that are no UTF-8 as escapes: aiohttp hands them over as surrogates."""
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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


async def read_body(content: StreamReader, most: int, deadline: float) -> tuple[bytes, bool]:
    """Read at most `most` bytes until the monotonic `deadline`; tell whether that was the whole body."""
    if content.is_eof() and content.exception() is None:  # it came with the head, as nearly all do
        body = content.read_nowait(most + 1)
        return body[:most], len(body) <= most
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            while size <= most:
                chunk = await content.read(most + 1 - size)
                if not chunk:
                    break
                chunks.append(chunk)
                size += len(chunk)
        whole = size <= most
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        whole = False
        forget_frames(error)
    return b"".join(chunks)[:most], whole
