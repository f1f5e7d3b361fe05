"""The outbox in the database's file, as a batch reads and marks it: `storage.sql.batch.OutboxInside`."""

from __future__ import annotations

from ..engine import FanOut, Mark, OutboxRow, ReadPlan
from . import marking, unread
from .connection import Connection


def read(conn: Connection, plan: ReadPlan) -> list[OutboxRow]:
    """Return rows that wait: projects take turns, and each one's oldest come first."""
    return unread.read_unread(conn, plan)


def mark(conn: Connection, fan_out: FanOut, marks: list[Mark], now: str) -> None:
    """Write answers into rows that were read in this transaction, in spite of an application's triggers."""
    marking.mark(conn, fan_out, marks, None, now, just_read=True)
