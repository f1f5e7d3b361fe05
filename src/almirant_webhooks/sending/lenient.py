"""Reads answers that the strict parser refuses, as curl and others do: the status line is what counts.

The rest may be read in another way than the receiver meant, so the connection carries no other request.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import causes
from .answers import Fields

MAX_HEAD = 256 * 1024  # bytes until the headers end, those of interim (1xx) answers included
MAX_FIELD = 65_536  # bytes
MAX_FIELDS = 512
MAX_INTERIM = 32
HEAD_TOO_LARGE = f"the answer's head is larger than {MAX_HEAD // 1024} KiB"
FIELD_TOO_LARGE = f"a header of the answer is larger than {MAX_FIELD // 1024} KiB"
TOO_MANY_FIELDS = f"the answer has more than {MAX_FIELDS} headers"
TOO_MANY_INTERIM = f"more than {MAX_INTERIM} interim answers (1xx)"
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?:[ \t][^\n]*)?\r?\n", re.IGNORECASE)
_END_OF_HEAD = re.compile(rb"\n\r?\n")  # 6 to 30 times as fast as a pattern that begins with "\r?"
_LIKE_A_HEAD = re.compile(rb"[\r\n]*(?:HTTP|RTSP)/[^\n]*\n?", re.IGNORECASE)
_LINE_END = re.compile(rb"\r?\n")
_MAX_DIGITS = 18
_NEEDED = {b"\0": 9, b"\x15": 2}  # bytes that identify an HTTP/2 frame and a TLS record


class Head(NamedTuple):
    """A final head; `end` is where it ends in all bytes that were read."""

    status: int
    fields: Fields
    end: int


class Unreadable(Exception):
    """An answer that cannot be read; the text is the cause."""


class LenientReader:
    """Reads heads up to the final one from bytes that come in pieces, in linear time."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self._begin = 0  # of the head that is being read
        self._searched = 0
        self._interim = 0

    def read(self, data: bytes | bytearray) -> Head | None:
        """Add bytes; return the final head once it is complete, else None. Raises `Unreadable`."""
        self.seen += data
        while True:
            if not self._has_status_line():
                return None
            end = _END_OF_HEAD.search(self.seen, max(self._begin, self._searched - 2))
            self._searched = len(self.seen)
            if (end.end() if end else self._searched) > MAX_HEAD:
                raise Unreadable(HEAD_TOO_LARGE)
            if end is None:
                return None
            head = _parse(bytes(self.seen[self._begin : end.end()]), end.end())
            if head.status == 101 or not 100 <= head.status <= 199:
                return head
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise Unreadable(TOO_MANY_INTERIM)
            self._begin = self._searched = head.end

    def _has_status_line(self) -> bool:
        """Return whether the status line is complete. Raises `Unreadable` as soon as the bytes cannot become one."""
        while self._begin < len(self.seen) and self.seen[self._begin] in b"\r\n":
            self._begin += 1
        if _STATUS_LINE.match(self.seen, self._begin):
            return True
        begun = bytes(self.seen[self._begin : self._begin + 9])
        if len(begun) < _NEEDED.get(begun[:1], 0):
            return False
        line_is_over = self.seen.find(b"\n", self._begin) >= 0
        if line_is_over or not b"HTTP/".startswith(begun[:5].upper()):
            raise Unreadable(_what_else(begun))
        if len(self.seen) > MAX_HEAD:
            raise Unreadable(HEAD_TOO_LARGE)
        return False


def framing(fields: Fields) -> bytes | None:
    """Return the header that says where the body ends, `b""` if it ends with the connection, None if that is unclear."""
    coding = b",".join([value for name, value in fields if name.lower() == b"transfer-encoding"])
    if coding.rpartition(b",")[2].strip().lower() == b"chunked":
        return b"Transfer-Encoding: chunked\r\n"
    lengths = {
        part.strip() for name, value in fields if name.lower() == b"content-length" for part in value.split(b",")
    }
    if coding or not lengths:
        return b""
    (length, *others) = lengths
    return (
        b"Content-Length: %b\r\n" % length if not others and length.isdigit() and len(length) <= _MAX_DIGITS else None
    )


def first_bytes(seen: bytes | bytearray) -> bytes:
    """Return the part of an unreadable answer to show: of a head the first line alone, as other lines may hold cookies."""
    like_a_head = _LIKE_A_HEAD.match(seen)
    return like_a_head[0] if like_a_head else bytes(seen)


def _parse(head: bytes, end: int) -> Head:
    line = _STATUS_LINE.match(head)
    assert line is not None
    fields: Fields = []
    for row in _LINE_END.split(head[line.end() :]):
        if len(row) > MAX_FIELD:
            raise Unreadable(FIELD_TOO_LARGE)
        if not row:
            continue
        if row[:1] in b" \t" and fields:  # a line that was folded
            name, value = fields[-1]
            fields[-1] = (name, value + b" " + row.strip())
            continue
        name, colon, value = row.partition(b":")
        fields.append((name.strip(), value.strip()) if colon else (b"", row.strip()))
        if len(fields) > MAX_FIELDS:
            raise Unreadable(TOO_MANY_FIELDS)
    return Head(int(line[1]), fields, end)


def _what_else(begun: bytes) -> str:
    """Return the cause for an answer that is not HTTP/1, by its first nine bytes."""
    if begun[:1] == b"\0" and begun[3:4] in (b"\x04", b"\x07") and begun[5:] == b"\0\0\0\0":  # SETTINGS, GOAWAY
        return causes.HTTP_2
    if begun[:2] == b"\x15\x03":  # an alert
        return causes.TLS_ANSWER
    return causes.NOT_HTTP
