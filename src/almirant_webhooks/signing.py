"""Secrets, signatures and the headers of a request (contract, section 3)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from functools import lru_cache
from urllib.parse import urlsplit

from . import verify
from .model import Headers, Refused

USER_AGENT = "Almirant-Webhooks/1.0"


def generate_secret() -> str:
    """Return a new secret: `whsec_` and base64 of 32 random bytes."""
    return verify.PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_secret(text: str) -> str:
    """Return an own secret that can be used, or raise `Refused`: 16 to 256 bytes of UTF-8, no control characters."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise Refused("A secret must be text that UTF-8 can write.", "secret") from None
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text):
        raise Refused("A secret must have no control characters (a line break at its end, perhaps).", "secret")
    if not 16 <= size <= 256:
        raise Refused(f"A secret must have 16 to 256 bytes; this one has {size}.", "secret")
    return text


keys = lru_cache(maxsize=4096)(verify.keys)


@lru_cache(maxsize=4096)
def host(url: str) -> str:
    """Return the host of a URL as the header `Host` has it, with a port that is not the scheme's own."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    if ":" in name:
        name = f"[{name}]"
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return name if parts.port in (None, default) else f"{name}:{parts.port}"


def signature(body: bytes, secret: str) -> str:
    """Return the value of `X-Almirant-Signature`: 64 lower-case hex digits."""
    return hmac.digest(keys(secret)[0], body, hashlib.sha256).hex()


def standard_signature(body: bytes, secret: str, delivery_id: str, timestamp: int) -> str:
    """Return the value of `webhook-signature` as Standard Webhooks has it."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(keys(secret)[1], signed, hashlib.sha256)).decode()


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
) -> Headers:
    """Return every header of an attempt's request, in the order in which they are sent."""
    timestamp = int(started_at.timestamp())
    headers: Headers = (
        ("Host", host(url)),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", USER_AGENT),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("X-Almirant-Signature", signature(body, secret)),
        ("X-Almirant-Event", event_type),
        ("X-Almirant-Delivery", delivery_id),
        ("X-Almirant-Timestamp", str(timestamp)),
        ("X-Almirant-Attempt", str(number)),
        ("webhook-id", delivery_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", standard_signature(body, secret, delivery_id, timestamp)),
    )
    return (*headers, ("X-Almirant-Test", "1")) if test else headers
