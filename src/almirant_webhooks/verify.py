"""Verifying a request of Almirant's, for receivers written in Python; nothing but the standard library."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping

PREFIX = "whsec_"


def keys(secret: str) -> tuple[bytes, bytes]:
    """Return the keys of `X-Almirant-Signature` and of `webhook-signature` (contract, section 3)."""
    plain = secret.encode("utf-8")
    if secret.startswith(PREFIX):
        try:
            decoded = base64.b64decode(secret[len(PREFIX) :], validate=True)
        except (binascii.Error, ValueError):
            return plain, plain
        if 24 <= len(decoded) <= 64:
            return plain, decoded
    return plain, plain


def verify_almirant(body: bytes, signature: str, secret: str) -> bool:
    """Tell whether `signature` (the whole header `X-Almirant-Signature`) is that of the body."""
    expected = hmac.new(secret.encode("utf-8"), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected.encode())


def verify_standard(
    body: bytes, headers: Mapping[str, str], secret: str, *, tolerance: float | None = 300, now: float | None = None
) -> bool:
    """Tell whether the Standard Webhooks headers fit the body and are at most `tolerance` seconds off.

    Header names may be of any case. Source: https://www.standardwebhooks.com/ (specification, "Signature scheme").
    """
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        delivery, sent_at, signatures = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        sent = int(sent_at)
    except (KeyError, ValueError):
        return False
    if tolerance is not None and abs((time.time() if now is None else now) - sent) > tolerance:
        return False
    signed = f"{delivery}.{sent_at}.".encode("utf-8", "surrogateescape") + body
    expected = base64.b64encode(hmac.new(keys(secret)[1], signed, hashlib.sha256).digest())
    presented = [part[3:].encode("utf-8", "surrogateescape") for part in signatures.split() if part.startswith("v1,")]
    return any(hmac.compare_digest(candidate, expected) for candidate in presented)
