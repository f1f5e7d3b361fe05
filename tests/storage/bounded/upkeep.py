"""Transactions of upkeep, and of the outbox's file."""

from __future__ import annotations

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import (
    FanOut,
    Mark,
    ReadPlan,
)
from almirant_webhooks.storage.sql import (
    erasing,
    retention,
)
from almirant_webhooks.storage.sqlite import (
    connection,
    erasing_outbox,
    free_pages,
    marking,
    outbox,
    rejected_rows,
    stats,
    unread,
)
from almirant_webhooks.storage.sqlite.connection import Connection

from ...support.large import NOW
from .kind import A_DELIVERY, DAY, LIMIT, Call, Kind, rows, steps_of


def _sweep(part: str) -> Call:
    """Take three steps of one part of a sweep alone."""

    def call(conn: Connection) -> None:
        walk = retention.Sweep(succeeded=30 * DAY, failed=90 * DAY, now=NOW)
        walk._walks = [getattr(walk, part)]
        steps_of(walk, conn)

    return call


def _an_event(conn: Connection) -> str:
    return str(conn.execute("SELECT id FROM events WHERE seq = 1").fetchone()[0])


def _seq(conn: Connection) -> int:
    return int(conn.execute("SELECT min(seq) FROM events").fetchone()[0])


def _insert(conn: Connection) -> None:
    """As `outbox.insert` does, which makes a transaction of its own."""
    conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', '{}')")


# Names are those of the storage's modules; a second kind of the same function has words behind its name.
UPKEEP: dict[str, Kind] = {
    "retention.Sweep": Kind(_sweep("_prune_deliveries")),
    "retention.Sweep, of deliveries with few attempts": Kind(
        _sweep("_prune_deliveries"),
        before=lambda conn: conn.execute("DELETE FROM attempts WHERE delivery_id = ?", (A_DELIVERY,)),
    ),
    "retention.Sweep, events": Kind(_sweep("_prune_events")),
    "retention.Sweep, hours": Kind(_sweep("_prune_hours")),
    "retention.Sweep, failures by status": Kind(_sweep("_prune_failures")),
    "retention.Sweep, five minutes that become hours": Kind(_sweep("_fold_hours")),
    "retention.Sweep, failures of five minutes that become hours": Kind(_sweep("_fold_failures")),
    "retention.Sweep, audit": Kind(_sweep("_prune_audit")),
    "retention.Sweep, resends": Kind(_sweep("_prune_resends")),
    "free_pages.release_pages": Kind(lambda conn: free_pages.release_pages(conn, LIMIT)),
    "erasing.find": Kind(lambda conn: erasing.find(conn, _an_event(conn), None)),
    "erasing.search": Kind(lambda conn: erasing.search(conn, "nothing has this", None, None, 100)),
    "erasing.erasure": Kind(lambda conn: erasing.erasure([_seq(conn)], NOW).step(conn, LIMIT)),
    "erasing.Erasure": Kind(lambda conn: erasing.erasure([_seq(conn)], NOW).step(conn, LIMIT)),
    "erasing.OldBodies": Kind(lambda conn: steps_of(erasing.OldBodies(NOW + DAY, NOW), conn)),
    "erasing.unclean_since": Kind(erasing.unclean_since),
    "erasing.note": Kind(lambda conn: erasing.note(conn, clock.text(NOW))),
    "erasing.note_clean": Kind(lambda conn: erasing.note_clean(conn, clock.text(NOW))),
    "erasing_outbox.OldPayloads": Kind(
        lambda conn: steps_of(erasing_outbox.OldPayloads(NOW + DAY), conn), on_outbox=True
    ),
    "erasing_outbox.erase_of_events": Kind(
        lambda conn: erasing_outbox.erase_of_events(conn, [("p", "evt_1")]), on_outbox=True
    ),
    "erasing_outbox.erase_rows": Kind(lambda conn: erasing_outbox.erase_rows(conn, [1, 2]), on_outbox=True),
    "erasing_outbox.rejected_of": Kind(lambda conn: erasing_outbox.rejected_of(conn, "evt_1", "p"), on_outbox=True),
    "erasing_outbox.rejected_with_text": Kind(
        lambda conn: erasing_outbox.rejected_with_text(conn, "nothing", None, None, 0), on_outbox=True
    ),
    "connection.data_version": Kind(connection.data_version),
    "connection.shorten_wal": Kind(connection.shorten_wal),
    "outbox.identity": Kind(outbox.identity),
    "outbox.bind": Kind(lambda conn: conn.execute("UPDATE outbox_meta SET batch = batch"), on_outbox=True),
    "outbox.mark": Kind(
        lambda conn: outbox.mark(conn, [Mark(row, None) for row in rows(conn)], 1, clock.text(NOW)),
        on_outbox=True,
    ),
    "marking.mark": Kind(
        lambda conn: marking.mark(conn, FanOut(), [Mark(row, None) for row in rows(conn)], 1, clock.text(NOW)),
        on_outbox=True,
    ),
    "outbox.prune": Kind(lambda conn: outbox.prune(conn, clock.text(NOW), LIMIT), on_outbox=True),
    "rejected_rows.Sweep": Kind(
        lambda conn: steps_of(rejected_rows.Sweep(clock.text(NOW - 30 * DAY)), conn), on_outbox=True
    ),
    "outbox.insert": Kind(_insert, on_outbox=True),
    "outbox.is_alone": Kind(outbox.is_alone, on_outbox=True),
    "stats.outbox": Kind(lambda conn: stats.outbox(conn, NOW), on_outbox=True),
    "stats.unread_rows": Kind(stats.unread_rows, on_outbox=True),
    "stats.wal_bytes": Kind(stats.wal_bytes, on_outbox=True),
    "unread.is_anything_unread": Kind(lambda conn: unread.is_anything_unread(conn, ReadPlan(20)), on_outbox=True),
    "unread.is_anything_unread, beside rows that are set apart": Kind(
        lambda conn: unread.is_anything_unread(conn, ReadPlan(20, excluded={row.id for row in rows(conn)})),
        on_outbox=True,
    ),
    "unread.read_unread": Kind(rows, on_outbox=True),
}
