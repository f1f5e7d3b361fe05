"""Looking for a text in the bodies of events: for what it means, not for how a producer's encoder spelled it.

`S\\u00f8ren`, `Søren` and `SØREN` are one text; so are composed and decomposed letters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_ESCAPES = re.compile(r"\\(?:u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*|.)", re.DOTALL)
_SPELLING = re.compile(r'\\(?:u[0-9a-fA-F]{4}|.)|"', re.DOTALL)
_ESCAPE = "\1"  # stands before each escape: none is found from its middle on
_QUOTE = "\0"  # stands for the quotes around a string: no text goes across them
_ONE = 6  # characters of the longest escape
_SHORT = {_QUOTE: '"', "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def folded(text: str) -> str:
    """Return a text as it is compared: without case, its letters composed."""
    return text.casefold() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


def has_text(body: bytes, text: str) -> bool:
    """Return whether the bytes of a body have a folded text in one of their strings."""
    if body.isascii() and b"\\" not in body:  # as most bodies are: nothing is to be decoded
        plain = _plain(text)
        return plain is not None and plain in body.lower()
    body_text = body.decode("utf-8", "replace")
    if "\\" not in body_text:  # nothing is escaped: no string has a quote in it
        return '"' not in text and text in folded(body_text)
    meant = _ESCAPES.sub(_meant, body_text.replace('"', _QUOTE))
    # Who copies a text out of a body has it with its escapes.
    return text in folded(meant) or ("\\" in text and _has_escapes(body_text, text))


@lru_cache(maxsize=16)
def _plain(text: str) -> bytes | None:
    """Return the bytes of a text as bodies of ASCII without escapes can have it, None for one that they cannot have."""
    return text.encode() if text.isascii() and '"' not in text else None


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
