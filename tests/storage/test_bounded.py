"""No transaction costs more because customers have more: SQLite's instructions of each kind, at two sizes ten times apart.

Whoever writes waits for whoever writes: what one does is bounded in rows, whatever is in the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import large, writers
from ..support.steps import Steps
from .bounded.calls import called, of_actions
from .bounded.changes import CHANGES
from .bounded.delivering import DELIVERING
from .bounded.kind import Kind
from .bounded.upkeep import UPKEEP

pytestmark = pytest.mark.sqlite

KINDS = {**DELIVERING, **CHANGES, **UPKEEP}
SOURCE = Path(__file__).parents[2] / "src" / "almirant_webhooks"
SIZES = (1_200, 12_000)  # the smaller one fills the largest step
EACH = 5  # instructions between two calls of SQLite's progress handler


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Steps]]:
    """Two databases, of which one has ten times as much of everything."""
    both = []
    for size in SIZES:
        both.append(Steps(tmp_path_factory.mktemp("large") / f"{size}.db"))
        large.grow(both[-1], size)
        both[-1].conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # so that no WAL has to be shortened
    yield both
    for one in both:
        one.close()


def cost(there: Steps, kind: Kind) -> int:
    """Count SQLite's instructions of a transaction, which is rolled back."""
    conn = there.outbox if kind.on_outbox else there.conn
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += EACH

    conn.execute("BEGIN IMMEDIATE")
    try:
        kind.before(conn)
        conn.set_progress_handler(count, EACH)
        kind.call(conn)
    finally:
        conn.set_progress_handler(None, 0)
        conn.execute("ROLLBACK")
    return counted


@pytest.mark.parametrize("name", KINDS)
def test_a_transaction_costs_the_same_whatever_customers_have(sizes: list[Steps], name: str) -> None:
    """With ten times as many webhooks, deliveries, attempts, resends, entries and rows: the same instructions, nearly."""
    less, more = (cost(there, KINDS[name]) for there in sizes)
    assert more <= 1.2 * less + 100, f"{less} instructions, and {more} with ten times as much"


# What no customer grows, or has another test.
APART = {
    "wal.empty_wal": "empties the WAL, outside of a transaction",
    "wal.empty_outbox_wal": "empties the WAL, outside of a transaction",
    "connection.transaction": "begins one",
    "connection.begin_reading": "begins one",
    "connection.end_reading": "ends one",
    "connection.large_rows": "sets how much memory is used",
    "triggers.trigger_error": "reads the names of triggers",
    "results.last_ends": "looks at 4,096 attempts at most, however many there are, at a start",
    "daemons.listed": "reads a row of each daemon",
    "daemons.without_key": "reads a row of each daemon, or the lock's file",
    "tables.schema_version": "reads the names of tables, and one row",
    "upkeep_store.SqliteResendingStore": "calls what is in the table",
    "journal.caution": "reads the journal mode",
    "stats.pending": "read on a connection that never writes",
    "stats.webhooks": "read on a connection that never writes",
    "resends.get": "read on a connection that never writes",
    "replays.count": "read on a connection that never writes",
    "replays.part_end": "read on a connection that never writes",
    "resends.count": "read on a connection that never writes",
    "resends.count_part": "read on a connection that never writes",
    "summaries.projects_of": "read on a connection that never writes",
    "imports.known": "read on a connection that never writes",
    "imports.counts": "read on a connection that never writes",
    "previews.newest": "read on a connection that never writes",
    "previews.event": "read on a connection that never writes",
    "held.count": "read on a connection that never writes",
    "health.own_webhooks": "read on a connection that never writes",
    "outbox.open_outbox": "opens a file",
    "erasing_outbox.count_old": "counted by `prune --dry-run`, in no write transaction",
    "rejected_rows.newest": "looks at 10,000 rejected rows at most, however many there are",
}


def test_every_kind_of_transaction_is_in_the_table() -> None:
    """A function of the storage that is called with a writer's connection, by the daemon, a page, the API or a command."""
    there = set().union(
        *(called(path) for path in SOURCE.rglob("*.py") if not path.is_relative_to(SOURCE / "storage")),
        *(called(path) for room in writers.ROOMS for path in (SOURCE / "storage" / room).glob("*_store*.py")),
        called(SOURCE / "storage" / "sqlite" / "service.py"),
        of_actions(),
    )
    there -= {one for one in there if one.startswith(("migrate.", "idle.", "backup."))}
    assert there - {name.split(",")[0] for name in KINDS} - APART.keys() == set()
    assert len(there) > 40, "calls are no longer recognised"
