"""The column `webhooks.headers`: a webhook's further request headers with their values."""

from __future__ import annotations

import json
from functools import lru_cache

from ...model import Headers


@lru_cache(maxsize=16_384)
def headers_of(column: str | None) -> Headers:
    """Return the headers that a column has, in their order."""
    return tuple((name, value) for name, value in json.loads(column)) if column else ()


def column_of(headers: Headers) -> str | None:
    """Return headers as their column has them."""
    return json.dumps(headers) if headers else None
