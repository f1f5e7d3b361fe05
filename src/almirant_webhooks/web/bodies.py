"""The body of a request to the API: what it says of itself, and its bytes."""

from __future__ import annotations

import zlib

from aiohttp import hdrs, web

from ..rules.texts import Text
from .limits import in_time

BROKEN = Text("The body cannot be read: it is not encoded as its headers say, or ends early.")
# How zlib reads each coding. Some clients send deflate without its head.
_WINDOW_BITS = {"": (), "identity": (), "gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}


def check_not_compressed(request: web.Request) -> None:
    """Refuse a form that is compressed, which no browser sends."""
    if _coding(request) not in ("", "identity"):
        raise web.HTTPUnsupportedMediaType(text=Text("A form cannot be compressed."))


async def read_json(request: web.Request) -> bytes:
    """Return the bytes of a JSON body, decompressed.

    Raises 415 for another `Content-Type` or a compression that is not known, 400 for a broken one, 413 for what is more
    than a body may be once decompressed. A body without a type counts as JSON.
    """
    window_bits = _WINDOW_BITS.get(_coding(request))
    if window_bits is None:
        raise web.HTTPUnsupportedMediaType(
            text=Text(
                "The body's Content-Encoding is not known here: send it plain, or compressed with gzip or deflate."
            ),
            headers={hdrs.ACCEPT_ENCODING: "gzip, deflate"},
        )
    raw = await in_time(request.read())
    if raw.strip() and hdrs.CONTENT_TYPE in request.headers and not _is_json(request.content_type):
        raise web.HTTPUnsupportedMediaType(
            text=Text("The body must be JSON: send it with Content-Type: application/json.")
        )
    return _inflate(raw, window_bits, request.client_max_size) if window_bits and raw else raw


def _coding(request: web.Request) -> str:
    return ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower()


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or (
        content_type.startswith("application/") and content_type.endswith("+json")
    )


def _inflate(raw: bytes, window_bits: tuple[int, ...], most: int) -> bytes:
    for bits in window_bits:
        stream = zlib.decompressobj(bits)
        try:
            data = stream.decompress(raw, most + 1)
        except zlib.error:
            continue
        if len(data) > most:
            raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=len(data))
        if stream.eof and not stream.unused_data:
            return data
    raise web.HTTPBadRequest(text=BROKEN)
