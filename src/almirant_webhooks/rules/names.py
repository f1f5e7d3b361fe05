"""What a webhook is called."""

from __future__ import annotations

from .signing import host


def name_of(description: str | None, url: str) -> str:
    """Return what people call a webhook: its description, else its host alone, as the path of a URL can be a secret."""
    return description or host(url) or url
