"""Looking for a text in the bodies of events: for what it means, not for how a producer's encoder spelled it.

`S\\u00f8ren`, `Søren` and `SØREN` are one text; so are composed and decomposed letters.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

LOOKED_BYTES = 32 * 1024 * 1024  # of bodies that one page looks into
_AT_ONCE = 50
_ESCAPES = re.compile(r"\\(?:u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*|.)", re.DOTALL)
_SPELLING = re.compile(r'\\(?:u[0-9a-fA-F]{4}|.)|"', re.DOTALL)
_ESCAPE = "\1"  # stands before each escape: none is found from its middle on
_QUOTE = "\0"  # stands for the quotes around a string: no text goes across them
_ONE = 6  # characters of the longest escape
_SHORT = {_QUOTE: '"', "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# In the event's own body, and in what a template made of it.
_WITH_TEXT = """
SELECT d.id, length(CAST(e.body AS BLOB)) + coalesce(length(CAST(r.body AS BLOB)), 0),
       has_text(CAST(e.body AS BLOB), ?2) OR CASE WHEN r.body IS NOT NULL THEN has_text(CAST(r.body AS BLOB), ?2) END
FROM json_each(?1) v CROSS JOIN deliveries d ON d.id = v.value CROSS JOIN events e ON e.seq = d.event_seq
LEFT JOIN rendered_bodies r ON d.rendered AND r.delivery_id = d.id
"""


def folded(text: str) -> str:
    """Return a text as it is compared: without case, its letters composed."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


def register(conn: sqlite3.Connection) -> None:
    """Give a connection `has_text(body, folded text)`."""
    conn.create_function("has_text", 2, has_text, deterministic=True)


def has_text(body: bytes, text: str) -> bool:
    """Return whether the bytes of a body have a folded text in one of their strings."""
    body_text = body.decode("utf-8", "replace")
    if "\\" not in body_text:  # nothing is escaped: no string has a quote in it
        return '"' not in text and text in folded(body_text)
    meant = _ESCAPES.sub(_meant, body_text.replace('"', _QUOTE))
    # Who copies a text out of a body has it with its escapes.
    return text in folded(meant) or ("\\" in text and _has_escapes(body_text, text))


def _has_escapes(body_text: str, text: str) -> bool:
    """Tell whether a text that was copied with its escapes stands within a string: `\\"` may be the end of `\\\\"`."""
    pattern = _SPELLING.sub(_as_spelled, text)
    return _QUOTE not in pattern and pattern in _SPELLING.sub(_as_spelled, body_text).casefold()


def _as_spelled(token: re.Match[str]) -> str:
    return _QUOTE if token[0] == '"' else _ESCAPE + token[0]


def _meant(escapes: re.Match[str]) -> str:
    token = escapes[0]
    return _known(token) if len(token) <= _ONE else _decoded(token)


def _decoded(token: str) -> str:
    """Return what an escape of JSON, or a row of them, stands for (RFC 8259, section 7)."""
    if len(token) == 2:
        return _SHORT.get(token[1], token[1])
    return bytes.fromhex(token.replace("\\u", "")).decode("utf-16-be", "replace")


_known = lru_cache(maxsize=4096)(_decoded)


class SearchResult(NamedTuple):
    """What has a text, out of what was looked at: down to `stopped`, if the bytes were used up before the end."""

    ids: list[str]
    looked_bytes: int
    stopped: str | None


def search_bodies(conn: sqlite3.Connection, ids: Sequence[str], text: str, max_bytes: float) -> SearchResult:
    """Look for a text in the bodies of deliveries, newest first, until more than `max_bytes` bytes of them were looked into."""
    matching_ids: list[str] = []
    looked = 0
    folded_text = folded(text)
    newest = sorted(ids, reverse=True)
    for at in range(0, len(newest), _AT_ONCE):
        some = newest[at : at + _AT_ONCE]
        rows = conn.execute(_WITH_TEXT, (json.dumps(some), folded_text)).fetchall()
        matching_ids += [row[0] for row in rows if row[2]]
        looked += sum(row[1] for row in rows)
        if looked > max_bytes and at + _AT_ONCE < len(newest):
            return SearchResult(matching_ids, looked, some[-1])
    return SearchResult(matching_ids, looked, None)
