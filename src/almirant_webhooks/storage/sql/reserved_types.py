"""Event types that begin with `almirant.` and are not the service's own: of producers before schema 7, or written by hand."""

from __future__ import annotations

from collections.abc import Collection

from ...rules.event_types import NOTICE_PREFIX
from .session import Session

SINCE_SCHEMA = 7  # from which on the service has types of its own in projects
NEWEST = 100_000  # events that are looked at
SHOWN = 20

_IN_USE = f"""
SELECT DISTINCT kind FROM (
    SELECT pattern AS kind FROM subscriptions WHERE pattern GLOB '{NOTICE_PREFIX}*'
    UNION ALL
    SELECT event_type FROM (SELECT event_type FROM events ORDER BY seq DESC LIMIT ?)
    WHERE event_type GLOB '{NOTICE_PREFIX}*')
ORDER BY kind
"""


def in_use(conn: Session, known: Collection[str] = ()) -> list[str]:
    """Return types of the newest events, and patterns of webhooks, that begin so, but for the `known` ones; 20 at most."""
    kinds = [str(row[0]) for row in conn.execute(_IN_USE, (NEWEST,))]
    return [kind for kind in kinds if kind not in known][:SHOWN]
