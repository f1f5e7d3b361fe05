"""What `doctor` comes to at each look."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """What one look came to: `ok`, `warning` (worth knowing) or `wrong` (exit 1).

    `sql` is what to run as it stands where statements mend it.
    """

    check: str
    result: str
    words: str
    sql: str | None = None


def ok(check: str, words: str) -> Finding:
    """Return what needs nothing to be done."""
    return Finding(check, "ok", words)
