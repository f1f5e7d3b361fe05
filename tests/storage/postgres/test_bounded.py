"""No statement that deliveries wait for costs more because customers have more, with everything in PostgreSQL either.

The pages that each kind looks at are counted at two sizes. The kinds are those of `tests/storage/test_bounded.py`, which counts
SQLite's instructions; left out are those before which as many rows are changed as there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import NamedTuple, cast

import pytest

from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.storage.mixed import moving
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, open_database, writing
from almirant_webhooks.storage.sqlite.connection import Connection

from ...support import large
from ...support.postgres import Outbox, new_tables
from ...support.steps import Steps
from ..bounded.delivering import DELIVERING
from ..bounded.kind import Kind

pytestmark = pytest.mark.slow

LONG = 60.0  # seconds that a statement may take: what is counted here is not time
SIZES = (1_200, 12_000)  # the smaller one fills the largest step
KINDS = (
    "batch.write",
    "batch.write, of a claim among resends, held and discarded ones",
    "batch.write, of an end in order",
    "deliveries.first_due",
    "deliveries.first_due, in order",
    "deliveries.first_due_after",
    "deliveries.held_up_by",
    "fanout.fan_out",
    "results.interrupt_open",
    "results.interrupt_open, of some webhooks",
)
_PAGES = """
SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::bigint
FROM pg_statio_user_tables WHERE schemaname = 'almirant_webhooks'
"""

_FORGET = (
    "DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'almirant_webhooks'::regnamespace)",
    "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relnamespace = 'almirant_webhooks'::regnamespace AND relkind = 'r'",
)


class Undone(Exception):
    """Rolls a transaction back."""


class Database(NamedTuple):
    """A database, and the key that its secrets are sealed with."""

    there: Outbox
    seals: Seals


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> list[Database]:
    """Two databases that were just copied from files, of which one has ten times as much of everything."""
    return [_grown(tmp_path_factory, size) for size in SIZES]


@pytest.fixture(scope="module", params=["never analysed", "analysed"])
def sizes(request: pytest.FixtureRequest, grown: list[Database]) -> Iterator[list[Database]]:
    """Both, as the planner knows nothing of them, and as it does."""
    both = [Database(there.copy(), seals) for there, seals in grown]
    if request.param == "analysed":
        for there, _ in both:
            with there.connect(autocommit=True) as conn:
                conn.execute("VACUUM ANALYZE")
    else:
        for there, _ in both:
            for statement in _FORGET:  # the copying has let it know
                there.ask(statement)
    yield both
    for there, _ in both:
        there.drop()


def _grown(folders: pytest.TempPathFactory, size: int) -> Database:
    folder, there = folders.mktemp("large"), new_tables()
    steps = Steps(folder / "log.db")
    large.grow(steps, size)
    old = steps.conn.seals
    steps.close()
    key = folder / "key"
    key.write_text(sealed_texts.new_line())
    key.chmod(0o600)
    seals = Seals(key, is_own=False)
    moving.move(folder / "log.db", there.place, old, seals, lambda *_: None, lambda _: None)
    return Database(there, seals)


def pages(database: Database, kind: Kind) -> int:
    """Return the number of pages of tables and indexes that a kind looks at, in a transaction that is rolled back."""

    def counted(*, called: bool) -> int:
        begin = int(database.there.ask(_PAGES)[0][0])
        _run(session, kind, called=called)
        return int(database.there.ask(_PAGES)[0][0]) - begin

    with closing(open_database(database.there.place, database.seals)) as session:
        _run(session, kind, called=True)  # has the server know its tables
        return counted(called=True) - counted(called=False)


def _run(session: DatabaseSession, kind: Kind, *, called: bool) -> None:
    conn = cast("Connection", session)
    with suppress(Undone), writing(session, statement=LONG):
        kind.before(conn)
        if called:
            kind.call(conn)
        raise Undone
    session.run("SELECT pg_stat_force_next_flush()")
    session.run("SELECT 1")


@pytest.mark.parametrize("name", KINDS)
def test_a_transaction_looks_at_as_many_pages_whatever_customers_have(sizes: list[Database], name: str) -> None:
    """With ten times as many webhooks, deliveries, attempts, resends, entries and rows: nearly the same."""
    less, more = (pages(database, DELIVERING[name]) for database in sizes)
    assert 0 < more <= 1.3 * less + 20, f"{less} pages, and {more} with ten times as much"


def test_a_statement_that_looks_at_all_rows_is_found_by_that(sizes: list[Database]) -> None:
    """One that has no index, and one whose number of rows has no limit."""
    for query in (
        "SELECT count(*) FROM deliveries WHERE last_status = 'x'",
        "SELECT count(id) FROM webhooks WHERE id > ''",
    ):
        kind = Kind(lambda conn: conn.execute(query).fetchall())  # noqa: B023
        less, more = (pages(database, kind) for database in sizes)
        assert more > 1.3 * less + 20
