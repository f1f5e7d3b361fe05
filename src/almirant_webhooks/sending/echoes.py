"""Masks what a receiver's answer repeats of the webhook's secret and of its headers' values, before the log has it.

A value is masked where it stands as it was sent, as JSON or HTML write it, or as a URL does, and so is each long word of
it: a token without its `Bearer`. Texts of fewer than 4 characters are no secrets, and would blacken the whole answer.
"""

from __future__ import annotations

import html
import json
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from ..model import MASK, Claim, Headers
from ..rules import decoding
from .answers import Answer, keep_headers

LEAST = 4  # characters of a value that is masked
LEAST_WORD = 8  # characters of a word of a value that is masked by itself
_MASK = MASK.encode()
_ESCAPED = (("<>&", "\\u%04x"), ("<>&='", "\\u%04x"), ("<>&+'\"`", "\\u%04X"))  # Go and Rails; Gson; .NET


class Shown(NamedTuple):
    """What the log keeps of an answer; `cut`: not the whole body."""

    headers: Headers
    body: bytes
    cut: bool


def without_echoes(answer: Answer, claim: Claim, most: int) -> Shown:
    """Return what is kept of an answer, with what is secret of the claim's webhook masked; at most `most` bytes of its body."""
    forms = _forms(claim.secret, claim.webhook_headers)
    fields, body, whole = tuple(answer.fields), answer.body, answer.whole
    values, may_be_compressed = _values(fields)
    if any(form in values for form in forms):
        fields = tuple((name, _masked(value, forms)) for name, value in fields)
    # Compressed, or in UTF-16 or UTF-32.
    if (may_be_compressed or b"\0" in body[:64]) and _is_in_compressed(fields, body, forms, whole):
        fields = tuple((name, value) for name, value in fields if name.lower() != b"content-encoding")
        return Shown(keep_headers(fields), _MASK[:most], cut=True)
    masked = hide(body, claim, cut=not whole)
    if len(masked) > most:
        masked, whole = masked[:most], False
    return Shown(keep_headers(fields), masked, not whole)


@lru_cache(maxsize=64)  # a receiver's answers within a second have the same ones
def _values(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[bytes, bool]:
    """Return the values of headers, and whether a name of theirs speaks of an encoding."""
    return b"\n".join([value for _, value in fields]), any(b"encoding" in name.lower() for name, _ in fields)


def hide(text: bytes, claim: Claim, *, cut: bool) -> bytes:
    """Return bytes of an answer with what is secret masked, and with `cut` the beginning of it at their end too."""
    forms = _forms(claim.secret, claim.webhook_headers)
    masked = _masked(text, forms)
    if not cut:
        return masked
    begins = min((_begin_at_end(masked, form) for form in forms), default=len(masked))
    return masked if begins == len(masked) else masked[:begins] + _MASK


def _begin_at_end(text: bytes, form: bytes) -> int:
    """Return where a text ends in the beginning of a form, of `LEAST` bytes or more; else the text's length."""
    at = text.find(form[:LEAST], max(0, len(text) - len(form) + 1))
    while at >= 0:
        if form.startswith(text[at:]):
            return at
        at = text.find(form[:LEAST], at + 1)
    return len(text)


def _masked(text: bytes, forms: tuple[bytes, ...]) -> bytes:
    for form in forms:
        if form in text:
            text = text.replace(form, _MASK)
    return text


def _is_in_compressed(
    fields: tuple[tuple[bytes, bytes], ...], body: bytes, forms: tuple[bytes, ...], whole: bool
) -> bool:
    shown = decoding.show(body, keep_headers(fields), cut=not whole).text.encode("utf-8", "replace")
    return any(form in shown for form in forms)


def _escaped(text: str, chars: str, form: str) -> str:
    return "".join(form % ord(char) if char in chars else json.dumps(char)[1:-1] for char in text)


@lru_cache(maxsize=16_384)
def _forms(secret: str, headers: Headers) -> tuple[bytes, ...]:
    """Return the bytes to look for, the longest first."""
    texts = {secret}
    for _, value in headers:
        texts.add(value)
        texts.update(word for word in value.split(" ") if len(word) >= LEAST_WORD)
    forms: set[bytes] = set()
    for text in texts:
        as_json = json.dumps(text, ensure_ascii=False)[1:-1]
        ways = {text, as_json, as_json.replace("/", "\\/"), html.escape(text), quote(text, safe=""), quote_plus(text)}
        ways |= {json.dumps(text)[1:-1], *(_escaped(text, chars, form) for chars, form in _ESCAPED)}
        forms.update(way.encode() for way in ways if len(text) >= LEAST)
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))
