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
from typing import NamedTuple
from urllib.parse import urlsplit

from .. import clock, verify
from ..model import MASK, Claim, Headers, Refused, Secrets
from .headers import together
from .texts import Text

USER_AGENT = "Almirant-Webhooks/1.0"
# How long after a switch `webhook-signature` still carries the old secret's signature.
OVERLAP = timedelta(hours=24)
# The number of the layout that `sign` packs. A release that changes a header takes the next number, and must still
# restore headers of this layout.
LAYOUT = 1
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def generate_secret() -> str:
    """Return a new secret: `whsec_` and base64 of 32 random bytes."""
    return verify.PREFIX + base64.b64encode(token_bytes(32)).decode()


def check_usable(text: str) -> str:
    """Return a secret that can sign, or raise `Refused`: 16 to 256 bytes of UTF-8, no control characters."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise Refused(Text("A secret must be text that UTF-8 can write."), "secret") from None
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise Refused(Text("A secret must have no control characters (a line break at its end, perhaps)."), "secret")
    if not 16 <= size <= 256:
        raise Refused(Text("A secret must have 16 to 256 bytes; this one has {size}.", size=size), "secret")
    return text


def check_secret(text: str) -> str:
    """Return a secret that a customer chose, or raise `Refused`, whose message never contains it.

    A secret with the prefix of Standard Webhooks must be a valid one: their libraries would verify with another key.
    """
    check_usable(text)
    if text != text.strip():
        raise Refused(
            Text("A secret must not begin or end with a blank: whoever copies it loses that easily."), "secret"
        )
    problem = _why_not_standard(text.removeprefix(verify.PREFIX)) if text.startswith(verify.PREFIX) else None
    if problem is not None:
        raise Refused(
            Text(
                "A secret that begins with {prefix} is one of Standard Webhooks, which goes on with the base64 of 24 to 64 bytes: {problem}. Copy all of it, or choose a secret that does not begin with {prefix}.",
                prefix=verify.PREFIX,
                problem=problem,
            ),
            "secret",
        )
    return text


def _why_not_standard(encoded: str) -> Text | None:
    """Return why libraries of Standard Webhooks may not all decode a text to the same 24 to 64 bytes, or None."""
    odd = _NOT_BASE64.search(encoded.rstrip("="))
    if odd is not None:
        if odd[0] in "-_":
            return Text("what follows has a character that is not of base64 (- and _ are of another alphabet)")
        return Text("what follows has a character that is not of base64")
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError:
        return Text("what follows is not whole, or lacks the padding (=) at its end")
    if base64.b64encode(decoded).decode() != encoded:
        return Text("what follows was cut, or ends in bits that belong to no byte")
    size = len(decoded)
    return None if 24 <= size <= 64 else Text("what follows is that of {size} bytes", size=size)


def secrets_at(secret: str, next_secret: str | None, switch_at: str | None, *, now: datetime) -> Secrets:
    """Return the secrets that sign now, from a webhook's columns and the time alone."""
    if next_secret is None or switch_at is None:
        return Secrets(secret)
    if now < clock.parse(switch_at):
        return Secrets(secret, next=next_secret)
    return Secrets(next_secret, last=secret if now < clock.parse(switch_at) + OVERLAP else None)


@lru_cache(maxsize=16_384)
def _keyed(secret: str) -> tuple[hmac.HMAC, hmac.HMAC]:
    """Return what begins the two signatures. A copy of it takes less time than to begin with the key anew."""
    plain, standard = verify.keys(secret)
    keyed = hmac.new(plain, digestmod="sha256")
    return keyed, keyed if standard == plain else hmac.new(standard, digestmod="sha256")


@lru_cache(maxsize=16_384)
def host(url: str) -> str:
    """Return the host of a URL as in the header `Host`, with the port unless it is the scheme's default.

    It is empty for an invalid URL that somebody wrote into the row by hand.
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
    made = _keyed(secret)[0].copy()
    made.update(body)
    return made.hexdigest()


def standard_signature(body: bytes, secret: str, delivery_id: str, timestamp: int) -> str:
    """Return the value of `webhook-signature` by Standard Webhooks; `timestamp` is in Unix seconds."""
    made = _keyed(secret)[1].copy()
    made.update(f"{delivery_id}.{timestamp}.".encode())
    made.update(body)
    return "v1," + binascii.b2a_base64(made.digest(), newline=False).decode()


class Signed(NamedTuple):
    """A request's head, which is sent, and what the log keeps of it."""

    head: str  # a line for each header, each with its end
    packed: str


def sign(
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
    webhook_headers: Headers = (),
) -> Signed:
    """Sign a request: return its head with every header in the order in which they are sent, and what the log keeps.

    `webhook-signature` also has the signatures of the next and the last secret, by Standard Webhooks. The log keeps the
    signatures, and the names of the webhook's own headers: the attempt's other columns hold the rest, and nothing holds the
    webhook's values.
    """
    timestamp = int(started_at.timestamp())
    standard = standard_signature(body, secret, delivery_id, timestamp)
    for other in (next_secret, last_secret):
        if other:
            standard += " " + standard_signature(body, other, delivery_id, timestamp)
    current = signature(body, secret)
    following = signature(body, next_secret) if next_secret is not None else None
    head = _head(url, len(body), event_type, delivery_id, timestamp, number, standard, current, following, test=test)
    kept = f'"{standard}", "{current}"' if following is None else f'"{standard}", "{current}", "{following}"'
    if not webhook_headers:
        return Signed(head, f"[{LAYOUT}, {kept}]")
    lines = [f"{name}: {value}\r\n" for name, value in together(headers_of(head), webhook_headers)]
    return Signed("".join(lines), f"[{LAYOUT}, {kept}, {json.dumps([name for name, _ in webhook_headers])}]")


def signed(claim: Claim) -> Claim:
    """Return a claim with the head of its request."""
    if claim.head:
        return claim
    made = sign(
        url=claim.url,
        secret=claim.secret,
        body=claim.body,
        delivery_id=claim.delivery_id,
        event_type=claim.event_type,
        number=claim.number,
        started_at=claim.started_at,
        test=claim.test,
        next_secret=claim.next_secret,
        last_secret=claim.last_secret,
        webhook_headers=claim.webhook_headers,
    )
    return Claim(*claim[:-2], *made)  # `_replace` takes twice as long


def headers_of(head: str) -> Headers:
    """Return the headers of a request's head."""
    lines = [line.partition(": ") for line in head.removesuffix("\r\n").split("\r\n")]
    return tuple((name, value) for name, _, value in lines)


def _head(
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
) -> str:
    head = (
        f"Host: {host(url)}\r\n"
        "Accept: */*\r\n"
        "Accept-Encoding: identity\r\n"
        f"User-Agent: {USER_AGENT}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {size}\r\n"
        f"X-Almirant-Signature: {current}\r\n"
        f"X-Almirant-Event: {event_type}\r\n"
        f"X-Almirant-Delivery: {delivery_id}\r\n"
        f"X-Almirant-Timestamp: {timestamp}\r\n"
        f"X-Almirant-Attempt: {number}\r\n"
        f"webhook-id: {delivery_id}\r\n"
        f"webhook-timestamp: {timestamp}\r\n"
        f"webhook-signature: {standard}\r\n"
    )
    if following is not None:
        head += f"X-Almirant-Signature-Next: {following}\r\n"
    return f"{head}X-Almirant-Test: 1\r\n" if test else head


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
    """Return every header of a request as it was sent, from `packed` and the attempt's columns; the webhook's own masked.

    `size` is the bytes of the body. Before schema 4 `packed` held all headers.
    """
    values = json.loads(packed)
    if LAYOUT not in values[:1]:
        return tuple((name, value) for name, value in values)
    timestamp = int(clock.parse(started_at).timestamp())
    signatures = [value for value in values[1:] if isinstance(value, str)]
    names = [name for value in values[1:] if isinstance(value, list) for name in value]
    ours = _head(url, size, event_type, delivery_id, timestamp, number, *signatures, test=test)
    return together(headers_of(ours), tuple((name, MASK) for name in names))
