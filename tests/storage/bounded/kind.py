"""What a kind of transaction is, and what several of them need."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from almirant_webhooks.storage.engine import (
    OutboxRow,
    ReadPlan,
    Walk,
)
from almirant_webhooks.storage.sqlite import (
    inside,
    unread,
)
from almirant_webhooks.storage.sqlite.connection import Connection

LIMIT = 50
DAY = timedelta(days=1)
Call = Callable[[Connection], object]
A_DELIVERY = f"dlv_{1:012x}l"


class Kind(NamedTuple):
    """A kind of transaction, or of a read on a writer's connection; `before` is done first and not counted."""

    call: Call
    before: Call = lambda conn: None
    on_outbox: bool = False


def outbox_inside(conn: Connection) -> Any:
    """Return the outbox in the database of a connection, as its engine reads and marks it."""
    if isinstance(conn, sqlite3.Connection):
        return inside
    from almirant_webhooks.storage.postgres.in_database import Inside

    return Inside(keep=True)


def rows(conn: Connection, count: int = 20) -> list[OutboxRow]:
    if isinstance(conn, sqlite3.Connection):
        return unread.read_unread(conn, ReadPlan(count))
    return list(outbox_inside(conn).read(conn, ReadPlan(count)))


def steps_of(walk: Walk, conn: Connection) -> None:
    for _ in range(3):
        assert walk.step(conn, LIMIT)
