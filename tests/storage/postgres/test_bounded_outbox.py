"""No statement on an outbox in PostgreSQL costs more because there is more in it: the pages that each kind looks at, at two sizes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import NamedTuple

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.engine import FanOut, Mark, ReadPlan
from almirant_webhooks.storage.postgres import (
    erasing_outbox,
    marking,
    outbox,
    rejected_rows,
    stats,
    trial,
    triggers,
    unread,
)
from almirant_webhooks.storage.postgres.connection import Session, connect, transaction

from ...support.postgres import Outbox, new_database

pytestmark = pytest.mark.slow

SIZES = (1_500, 15_000)  # the indexes have as many levels at both
NOW = clock.now()
OLD = NOW - timedelta(days=1)
LIMIT = 50
# As many rows as the size says of each: waiting in one project, waiting in a project each, taken long ago, rejected.
FILL = """
INSERT INTO outbox (project_id, event_type, payload, event_id, occurred_at, fanned_out_at, rejected_reason)
SELECT CASE kind.name WHEN 'waits' THEN 'busy' WHEN 'waits alone' THEN 'p-' || number ELSE 'other' END, 'a.b', '{"n": 1}',
    kind.word || number, now() - interval '30 days', CASE kind.name WHEN 'taken' THEN now() - interval '20 days' + number * interval '1 ms' END,
    CASE kind.name WHEN 'rejected' THEN 'no' END
FROM generate_series(1, %s) number,
    (VALUES ('waits', 'w-'), ('waits alone', 'a-'), ('taken', 't-'), ('rejected', 'r-')) kind (name, word)
"""
_PAGES = """
SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::bigint
FROM pg_statio_user_tables WHERE schemaname = 'almirant_webhooks'
"""
_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'almirant-webhooks'"


class Kind(NamedTuple):
    """What is called on a session; within a transaction unless it makes its own."""

    call: Callable[[Session], object]
    has_own: bool = False


def _insert(session: Session, event_id: str | None = None) -> str:
    return outbox.insert(session, project_id="busy", event_type="a.b", payload='{"n": 1}', event_id=event_id)


def _mark(session: Session, *, reason: str | None = None) -> list[marking.Marked]:
    """Mark the next rows that wait."""
    ids = [row for _, rows in unread.line(session, ReadPlan(LIMIT)) for row in rows]
    fan_out = FanOut(batch=1, marks=[Mark(row, reason) for row in unread.rows(session, ids[:LIMIT])])
    assert len(fan_out.marks) == LIMIT
    return marking.mark(session, [fan_out], clock.text(NOW))


def _refuse(session: Session) -> object:
    """Mark rows where a trigger of the application refuses one."""
    session.run("""CREATE FUNCTION almirant_webhooks.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.event_id = 'w-1' THEN RAISE 'no'; END IF; RETURN NEW; END $$""")
    on = "refuse BEFORE UPDATE ON almirant_webhooks.outbox FOR EACH ROW EXECUTE FUNCTION almirant_webhooks.refuse()"
    session.run(f"CREATE TRIGGER {on}")
    try:
        return _mark(session)
    finally:
        session.run("DROP FUNCTION almirant_webhooks.refuse CASCADE")


KINDS: dict[str, Kind] = {
    "unread.line": Kind(lambda session: unread.line(session, ReadPlan(LIMIT)), has_own=True),
    "unread.line, behind a project": Kind(
        lambda session: unread.line(session, ReadPlan(LIMIT, "p-1", range(1, 200))), has_own=True
    ),
    "unread.line, of every other bucket": Kind(
        lambda session: unread.line(session, ReadPlan(LIMIT), range(0, 64, 2)), has_own=True
    ),
    "unread.line, further ahead": Kind(
        lambda session: unread.line(session, ReadPlan(LIMIT), ahead=10 * LIMIT), has_own=True
    ),
    "unread.lock": Kind(lambda session: unread.lock(session, range(1, LIMIT))),
    "unread.free": Kind(lambda session: unread.free(session, range(1, LIMIT))),
    "unread.rows": Kind(lambda session: unread.rows(session, range(1, LIMIT)), has_own=True),
    "marking.mark": Kind(_mark, has_own=True),
    "marking.mark, of rejected rows": Kind(lambda session: _mark(session, reason="no"), has_own=True),
    "marking.mark, row by row": Kind(_refuse, has_own=True),
    "outbox.insert": Kind(_insert, has_own=True),
    "outbox.insert, of an id that is there": Kind(lambda session: _insert(session, "w-1000"), has_own=True),
    "outbox.bind": Kind(lambda session: outbox.bind(session, lambda: ("db", 10)), has_own=True),
    "outbox.waiting": Kind(lambda session: outbox.waiting(session, "w-1000"), has_own=True),
    "outbox.prune": Kind(lambda session: outbox.prune(session, OLD, LIMIT)),
    "erasing_outbox.erase_of_events": Kind(
        lambda session: erasing_outbox.erase_of_events(session, [("busy", f"w-{number}") for number in range(LIMIT)])
    ),
    "erasing_outbox.erase_rows": Kind(lambda session: erasing_outbox.erase_rows(session, range(1, LIMIT))),
    "erasing_outbox.overwrite": Kind(lambda session: erasing_outbox.overwrite(session, range(1, LIMIT))),
    "erasing_outbox.rejected_of": Kind(lambda session: erasing_outbox.rejected_of(session, "r-1000", "other")),
    "erasing_outbox.rejected_with_text": Kind(
        lambda session: erasing_outbox.rejected_with_text(session, "nowhere", None, None, 0)
    ),
    "erasing_outbox.OldPayloads": Kind(lambda session: erasing_outbox.OldPayloads(OLD).step(session, LIMIT)),
    "rejected_rows.newest": Kind(lambda session: rejected_rows.newest(session, LIMIT)),
    "rejected_rows.newest, of a project": Kind(
        lambda session: rejected_rows.newest(session, LIMIT, "nobody", looked_at=500)
    ),
    "rejected_rows.Sweep": Kind(lambda session: rejected_rows.Sweep(OLD).step(session, LIMIT)),
    "stats.outbox": Kind(lambda session: stats.outbox(session, NOW)),
    "stats.unread_rows": Kind(stats.unread_rows),
    "trial.insert_and_mark": Kind(trial.insert_and_mark, has_own=True),
    "triggers.ignored_marks": Kind(lambda session: triggers.ignored_marks(session, range(1, LIMIT))),
}
# What no customer grows, or what people ask for who wait for it.
APART = {
    "erasing_outbox.count_old": "`prune --dry-run` counts what it would remove",
    "marking.one_by_one": "what `mark` calls",
    "marking.write": "what `mark` calls",
    "outbox.adopt": "a command of the operator's, which looks at the rows since a time that it names",
    "outbox.count_old": "`prune --dry-run` counts what it would remove",
    "outbox.vacuum": "the server's own, in no transaction",
    "triggers.blaming": "names a trigger after an error",
    "triggers.blamed": "the same",
    "triggers.trigger_names": "reads the names of triggers",
}


@pytest.fixture(scope="module")
def sizes() -> list[Outbox]:
    return [_filled(size) for size in SIZES]


def _filled(size: int) -> Outbox:
    there = new_database()
    with there.connect(autocommit=True) as conn:
        conn.execute(FILL, [size])
        conn.execute("VACUUM ANALYZE outbox")
    return there


@pytest.fixture
def _end(sizes: list[Outbox]) -> Iterator[None]:
    yield
    for there in sizes:
        there.ask("UPDATE outbox_meta SET database_id = NULL, batch = 0")


def pages(there: Outbox, kind: Kind) -> int:
    """Return the number of pages of tables and indexes that a kind looks at, again and again if so."""

    def counted(session: Session) -> int:
        session.run("SELECT pg_stat_force_next_flush()")
        return int(there.ask(_PAGES)[0][0])

    with closing(connect(there.place)) as session:
        while there.ask(_OTHERS) != [(1,)]:  # those before count until they have ended
            pass
        _call(session, kind)  # has the server know its tables
        before = counted(session)
        _call(session, kind)
        return counted(session) - before


def _call(session: Session, kind: Kind) -> None:
    if kind.has_own:
        kind.call(session)
        return
    with transaction(session):
        kind.call(session)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.usefixtures("_end")
def test_a_statement_looks_at_as_many_pages_whatever_the_outbox_has(sizes: list[Outbox], name: str) -> None:
    """With ten times as many rows that wait, were taken and were rejected, and projects: nearly the same."""
    less, more = (pages(there, KINDS[name]) for there in sizes)
    assert 0 < more <= 1.3 * less + 20, f"{less} pages, and {more} with ten times as many rows"


def test_a_statement_that_looks_at_all_rows_is_found_by_that(sizes: list[Outbox]) -> None:
    """One that has no index, and one whose number of rows has no limit."""
    for query in ("SELECT id FROM outbox WHERE payload = 'x'", "SELECT count(payload) FROM outbox WHERE id > 0"):
        less, more = (pages(there, Kind(lambda session: session.run(query))) for there in sizes)  # noqa: B023
        assert more > 1.3 * less + 20


def test_every_function_that_is_given_a_session_is_in_the_table() -> None:
    """Of the modules that read or write the outbox."""
    names = set()
    for module in (erasing_outbox, marking, outbox, rejected_rows, stats, trial, triggers, unread):
        for name, thing in vars(module).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
                continue
            is_walk = inspect.isclass(thing) and hasattr(thing, "step")
            if is_walk or (inspect.isfunction(thing) and "session" in inspect.signature(thing).parameters):
                names.add(f"{module.__name__.split('.')[-1]}.{name}")
    assert names - {name.split(",")[0] for name in KINDS} - APART.keys() == set()
    assert len(names) > 20, "functions are no longer recognised"
