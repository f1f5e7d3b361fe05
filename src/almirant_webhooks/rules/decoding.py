"""Decompresses and decodes an answer's body for display, within bounds. The stored body stays as it was received."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

MAX_SHOWN = 64 * 1024  # bytes that are decompressed of one body
MAX_CODINGS = 3
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_RAW_DEFLATE = -15  # some servers send this as `deflate`
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_:.+-]{1,40})""", re.IGNORECASE)
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# An explicit list, as Python has codecs that are no charset (zip, rot13). Latin 1 is read as cp1252, as browsers do.
_CODEC = re.compile(
    r"utf-(?:8|16|32)(?:-[bl]e)?|ascii|iso8859-\d+|cp\d+|koi8-[ru]|mac-roman|tis-620|shift_jis|euc_(?:jp|kr)"
    r"|iso2022_(?:jp|kr)|gb(?:2312|k|18030)|big5(?:hkscs)?"
)
_READ_AS = {"utf-8": "utf-8-sig", "ascii": "cp1252", "iso8859-1": "cp1252"}
# As `backslashreplace` writes them, which takes three times as long for a body without any text.
_ESCAPED = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}


class Shown(NamedTuple):
    """A body as text; `note` says how it was made readable, or is None."""

    text: str
    is_text: bool
    note: str | None


def show(raw: bytes, headers: Iterable[tuple[str, str]], *, cut: bool) -> Shown:
    """Decode a body by its `Content-Encoding` and `Content-Type`; `cut` says that its end is missing.

    Bytes that are not text become `\\xNN`.
    """
    fields = [(name.lower(), value) for name, value in headers]
    encoding = ",".join(value for name, value in fields if name == "content-encoding")
    data, notes, cut = _decompress(raw, encoding, cut=cut)
    text, charset = _decode(data, next((value for name, value in fields if name == "content-type"), ""), cut=cut)
    if charset:
        notes.append(f"read as {charset}")
    is_text = text is not None and "\0" not in text
    if text is None:
        text = data.decode("utf-8", "surrogateescape").translate(_ESCAPED)
    return Shown(text, is_text, "; ".join(notes) or None)


def _decompress(raw: bytes, encoding: str, *, cut: bool) -> tuple[bytes, list[str], bool]:
    codings = [word.strip().lower() for word in encoding.split(",")]
    codings = [word for word in codings if word not in ("", "identity")]
    if not codings or not raw:
        return raw, [], cut
    names = ", ".join(codings)[:60]
    if len(codings) > MAX_CODINGS or not set(codings) <= set(_WINDOW_BITS):
        return raw, [f"compressed with {names}, which is not read here"], cut
    data, clipped = raw, False
    for coding in reversed(codings):
        inflated = _inflate(data, _WINDOW_BITS[coding])
        if inflated is None and coding == "deflate":
            inflated = _inflate(data, _RAW_DEFLATE)
        if inflated is None:
            return raw, [f"not {names}, although its header says so"], cut
        data, ends, more = inflated
        cut, clipped = cut or not ends, clipped or more
    first = f", its first {MAX_SHOWN // 1024} KiB" if clipped else ""
    return data, [f"decompressed from {names}{first}"], cut


def _inflate(data: bytes, window_bits: int) -> tuple[bytes, bool, bool] | None:
    """Return the data (`MAX_SHOWN` bytes at most), whether its end was reached, and whether more is left.

    None if it is not compressed in this way.
    """
    stream = zlib.decompressobj(window_bits)
    try:
        text = stream.decompress(data, MAX_SHOWN)
    except zlib.error:
        return None
    return text, stream.eof, bool(stream.unconsumed_tail)


def _decode(data: bytes, content_type: str, *, cut: bool) -> tuple[str | None, str]:
    """Return a body as text (or None) and its charset, which is empty for UTF-8; a cut character is left out."""
    declared = _CHARSET.search(content_type)
    label = (
        declared[1] if declared else next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    )
    for name in (label, "utf-8"):
        try:
            codec = codecs.lookup(name).name
            if not _CODEC.fullmatch(codec):
                continue
            decoder = codecs.getincrementaldecoder(_READ_AS.get(codec, codec))()
            text = decoder.decode(data, final=not cut)
        except (LookupError, UnicodeError):
            continue
        plain = codec == "utf-8" or (data.isascii() and text == data.decode("ascii"))
        return text, "" if plain else name
    return None, ""
