"""Secrets, signatures and the headers of a request (contract, section 3)."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from datetime import datetime, timedelta
from functools import lru_cache
from secrets import token_bytes
from urllib.parse import urlsplit

from .. import clock, verify
from ..model import Headers, Refused, Secrets

USER_AGENT = "Almirant-Webhooks/1.0"
# How long after a switch `webhook-signature` goes on to carry the signature of the secret before it.
OVERLAP = timedelta(hours=24)
# The headers as `_headers` writes them. A release that sends other ones, or the same ones in another way, takes the next
# number, and goes on to restore those of this one as they were sent.
LAYOUT = 1
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
_SIGNED = ("webhook-signature", "X-Almirant-Signature", "X-Almirant-Signature-Next")


def generate_secret() -> str:
    """Return a new secret: `whsec_` and base64 of 32 random bytes."""
    return verify.PREFIX + base64.b64encode(token_bytes(32)).decode()


def check_usable(text: str) -> str:
    """Return a secret that can sign, or raise `Refused`: 16 to 256 bytes of UTF-8, no control characters."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise Refused("A secret must be text that UTF-8 can write.", "secret") from None
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise Refused("A secret must have no control characters (a line break at its end, perhaps).", "secret")
    if not 16 <= size <= 256:
        raise Refused(f"A secret must have 16 to 256 bytes; this one has {size}.", "secret")
    return text


def check_secret(text: str) -> str:
    """Return an own secret that a webhook may be given, or raise `Refused`, which never repeats it.

    One that begins as a secret of Standard Webhooks has to be one: their libraries would verify with another key.
    """
    check_usable(text)
    if text != text.strip():
        raise Refused("A secret must not begin or end with a blank: whoever copies it loses that easily.", "secret")
    problem = _why_not_standard(text.removeprefix(verify.PREFIX)) if text.startswith(verify.PREFIX) else None
    if problem is not None:
        raise Refused(
            f"A secret that begins with {verify.PREFIX} is one of Standard Webhooks, which goes on with the base64 of 24 to "
            f"64 bytes: {problem}. Copy all of it, or choose a secret that does not begin with {verify.PREFIX}.",
            "secret",
        )
    return text


def _why_not_standard(encoded: str) -> str | None:
    """Say why a text is not what every library of Standard Webhooks decodes to the same 24 to 64 bytes; None if it is."""
    odd = _NOT_BASE64.search(encoded.rstrip("="))
    if odd is not None:
        alphabet = " (- and _ are of another alphabet)" if odd[0] in "-_" else ""
        return f"what follows has a character that is not of base64{alphabet}"
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError:
        return "what follows is not whole, or lacks the padding (=) at its end"
    if base64.b64encode(decoded).decode() != encoded:
        return "what follows was cut, or ends in bits that belong to no byte"
    return None if 24 <= len(decoded) <= 64 else f"what follows is that of {len(decoded)} bytes"


def secrets_at(secret: str, next_secret: str | None, switch_at: str | None, *, now: datetime) -> Secrets:
    """Tell which secrets sign now, from a webhook's columns; a restart or a step that was missed changes nothing."""
    if next_secret is None or switch_at is None:
        return Secrets(secret)
    if now < clock.parse(switch_at):
        return Secrets(secret, next=next_secret)
    return Secrets(next_secret, last=secret if now < clock.parse(switch_at) + OVERLAP else None)


keys = lru_cache(maxsize=16_384)(verify.keys)


@lru_cache(maxsize=16_384)
def host(url: str) -> str:
    """Return the host of a URL as the header `Host` has it, with a port that is not the scheme's own.

    A URL that was written into its row by hand, and is none, has none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    name = parts.hostname or ""
    if ":" in name:
        name = f"[{name}]"
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return name if port in (None, default) else f"{name}:{port}"


def signature(body: bytes, secret: str) -> str:
    """Return the value of `X-Almirant-Signature`: 64 lower-case hex digits."""
    return hmac.digest(keys(secret)[0], body, "sha256").hex()


def standard_signature(body: bytes, secret: str, delivery_id: str, timestamp: int) -> str:
    """Return the value of `webhook-signature` as Standard Webhooks has it."""
    signed = hmac.digest(keys(secret)[1], b"%b.%d.%b" % (delivery_id.encode(), timestamp, body), "sha256")
    return "v1," + binascii.b2a_base64(signed, newline=False).decode()


def request_headers(
    *,
    url: str,
    secret: str,
    body: bytes,
    delivery_id: str,
    event_type: str,
    number: int,
    started_at: datetime,
    test: bool,
    next_secret: str | None = None,
    last_secret: str | None = None,
) -> Headers:
    """Return every header of an attempt's request, in the order in which they are sent.

    `webhook-signature` carries the signatures of a next and a last secret too, as Standard Webhooks has it.
    """
    timestamp = int(started_at.timestamp())
    standard = standard_signature(body, secret, delivery_id, timestamp)
    for other in (next_secret, last_secret):
        if other:
            standard += " " + standard_signature(body, other, delivery_id, timestamp)
    current = signature(body, secret)
    following = signature(body, next_secret) if next_secret is not None else None
    return _headers(url, len(body), event_type, delivery_id, timestamp, number, standard, current, following, test=test)


def _headers(
    url: str,
    size: int,
    event_type: str,
    delivery_id: str,
    timestamp: int,
    number: int,
    standard: str,
    current: str,
    following: str | None = None,
    *,
    test: bool,
) -> Headers:
    headers: Headers = (
        ("Host", host(url)),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", USER_AGENT),
        ("Content-Type", "application/json"),
        ("Content-Length", str(size)),
        ("X-Almirant-Signature", current),
        ("X-Almirant-Event", event_type),
        ("X-Almirant-Delivery", delivery_id),
        ("X-Almirant-Timestamp", str(timestamp)),
        ("X-Almirant-Attempt", str(number)),
        ("webhook-id", delivery_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", standard),
    )
    if following is not None:
        headers += (("X-Almirant-Signature-Next", following),)
    return (*headers, ("X-Almirant-Test", "1")) if test else headers


def pack_headers(headers: Headers) -> str:
    """Write what the log keeps of a request's headers: the signatures. All else stands in the attempt's other columns."""
    values = dict(headers)
    signatures = '", "'.join([values[name] for name in _SIGNED if name in values])
    return f'[{LAYOUT}, "{signatures}"]'


def unpack_headers(
    packed: str,
    *,
    url: str,
    size: int,
    event_type: str,
    delivery_id: str,
    number: int,
    started_at: str,
    test: bool,
) -> Headers:
    """Return every header of a request as it was sent, from what was kept and the attempt's own columns; `size` is the body's.

    Releases before schema 4 wrote all of them.
    """
    values = json.loads(packed)
    if LAYOUT not in values[:1]:
        return tuple((name, value) for name, value in values)
    timestamp = int(clock.parse(started_at).timestamp())
    return _headers(url, size, event_type, delivery_id, timestamp, number, *values[1:], test=test)
