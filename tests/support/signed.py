"""What is sent, as tests compare it: the headers of a request by name."""

from __future__ import annotations

from typing import Any

from almirant_webhooks.model import Claim, Headers
from almirant_webhooks.rules.signing import headers_of, sign, signed


def request_headers(**parts: Any) -> Headers:
    """Return the headers of a request that is signed with these parts."""
    return headers_of(sign(**parts).head)


def headers_sent(claim: Claim) -> Headers:
    """Return the headers of a claim's request."""
    return headers_of(signed(claim).head)
