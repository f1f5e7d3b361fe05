"""No transaction costs more because customers have more: SQLite's instructions of each kind, at two sizes ten times apart.

Whoever writes waits for whoever writes: what one does is bounded in rows, whatever is in the database.
"""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, get_type_hints

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Outcome, Result, Webhook
from almirant_webhooks.rules.rates import Rate
from almirant_webhooks.rules.replays import ReplayCount, ReplaySelection
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage import sqlite
from almirant_webhooks.storage.engine import FIRST_RESEND, FanOut, Mark, OutboxRow, ReadPlan, Walk, Work
from almirant_webhooks.storage.sqlite import (
    audit,
    batch,
    claiming,
    connection,
    deliveries,
    disabling,
    erasing,
    erasing_outbox,
    fanout,
    health,
    held,
    later_deliveries,
    marking,
    outbox,
    producers,
    rejected_rows,
    replays,
    resend_steps,
    resends,
    results,
    retention,
    revisions,
    rotation,
    sealed,
    starts,
    stats,
    unread,
    waits,
    webhooks,
)
from almirant_webhooks.storage.sqlite.action_store import SqliteActionStore
from almirant_webhooks.storage.sqlite.allowance import Allowance
from almirant_webhooks.storage.sqlite.connection import seals_of

from ..support import large
from ..support.large import BUSY, NOW, OFF, RUNNING, TAIL
from ..support.steps import SCHEDULE, Steps

SOURCE = Path(__file__).parents[2] / "src" / "almirant_webhooks"
SIZES = (1_200, 12_000)  # the smaller one fills the largest step
EACH = 5  # instructions between two calls of SQLite's progress handler
LIMIT = 50
DAY = timedelta(days=1)
Call = Callable[[sqlite3.Connection], object]


class Kind(NamedTuple):
    """A kind of transaction, or of a read on a writer's connection; `before` is done first and not counted."""

    call: Call
    before: Call = lambda conn: None
    on_outbox: bool = False


def _claim(conn: sqlite3.Connection) -> object:
    return claiming.claim(conn, {BUSY: 8, OFF: 8, "wh_resent": 8, "wh_discarding": 8, "wh_hurried": 8}, NOW)


def _limit(conn: sqlite3.Connection) -> None:
    """Have the webhooks with many deliveries due, and with many resends, a rate limit; among the resends is a test."""
    conn.execute("UPDATE webhooks SET rate_limit = '100/h' WHERE id IN (?, 'wh_hurried')", (BUSY,))
    webhooks.request_test(conn, "wh_hurried", "lead.created", "{}", NOW)


def _claim_limited(conn: sqlite3.Connection) -> object:
    return claiming.claim(
        conn, {BUSY: 8, "wh_hurried": 8}, NOW, allowance=Allowance(places=lambda webhook, rate_limit: 4)
    )


def _began_within_the_hour(conn: sqlite3.Connection) -> None:
    """Have all attempts begun lately, and have counted in a limit, of a webhook that was changed since."""
    conn.execute("UPDATE attempts SET started_at = ?, limited_webhook = ?", (clock.text(NOW), BUSY))
    conn.execute("UPDATE webhooks SET updated_at = ? WHERE id = ?", (clock.text(NOW), BUSY))


def _unmake(conn: sqlite3.Connection) -> None:
    """Let templates have made no body of all that somebody in a hurry resends."""
    hurried = "FROM deliveries WHERE webhook_id = 'wh_hurried'"
    conn.execute("UPDATE webhooks SET template = '\"{{ type }}\"' WHERE id = 'wh_hurried'")
    conn.execute(f"INSERT INTO rendered_bodies SELECT id, NULL, 'too large' {hurried}")
    conn.execute(
        f"UPDATE deliveries SET rendered = 1, state = 'failed', next_attempt_at = NULL WHERE id IN (SELECT id {hurried})"
    )


def _rows(conn: sqlite3.Connection, count: int = 20) -> list[OutboxRow]:
    return unread.read_unread(conn, ReadPlan(count))


def _write_batch(conn: sqlite3.Connection) -> object:
    """Record what was claimed, claim more, and fan out."""
    claims = claiming.claim(conn, {BUSY: 8}, NOW)
    ended = [Result(one, Outcome.HTTP_ERROR, NOW, 5, 500, "the receiver answered 500") for one in claims]
    work = Work(ended, {BUSY: 8}, to_read=ReadPlan(20), take_slot=lambda webhook, served: True)
    return batch.write(conn, work, SCHEDULE, NOW)


def _sweep(part: str) -> Call:
    """Take three steps of one part of a sweep alone."""

    def call(conn: sqlite3.Connection) -> None:
        walk = retention.Sweep(succeeded=30 * DAY, failed=90 * DAY, now=NOW)
        walk._walks = [getattr(walk, part)]
        _steps_of(walk, conn)

    return call


def _an_event(conn: sqlite3.Connection) -> str:
    return str(conn.execute("SELECT id FROM events WHERE seq = 1").fetchone()[0])


def _seq(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT min(seq) FROM events").fetchone()[0])


def _begin_resend(conn: sqlite3.Connection) -> str:
    # As many as there are webhooks of a kind; `evt_alone` is behind them.
    size = conn.execute("SELECT max(seq) FROM events WHERE seq < 1000000").fetchone()[0]
    return resends.start(conn, Selection(status="5xx"), large.counts_of(size), actor="operator", now=NOW)


def _begin_replay(*events: str) -> Call:
    """Begin a replay of all that there is, at a webhook that has none of it and was just created."""

    def call(conn: sqlite3.Connection) -> object:
        webhook = _created(conn, events or ("*",))
        counted = ReplayCount(webhook_id=webhook.id, events=9, erased=0, since=large.OLD, reaches_back_to=None)
        selection = ReplaySelection(webhook.id, NOW - 1000 * DAY)
        return replays.start(conn, selection, counted, actor="operator", now=NOW + 2 * DAY)

    return call


def _replay_alone(*events: str) -> Call:
    """Let a replay be all that is under way."""

    def call(conn: sqlite3.Connection) -> None:
        conn.execute("DELETE FROM resend_webhooks")
        _begin_replay(*events)(conn)

    return call


def _claim_of_replay(conn: sqlite3.Connection) -> object:
    (webhook,) = conn.execute(
        "SELECT replay_of FROM resends WHERE replay_of IS NOT NULL AND finished_at IS NULL"
    ).fetchone()
    return claiming.claim(conn, {webhook: 8}, NOW + 2 * DAY)


def _step_alone(conn: sqlite3.Connection) -> object:
    return resend_steps.step(conn, NOW + 2 * DAY)


def _replay_and_step(conn: sqlite3.Connection) -> None:
    _replay_alone()(conn)
    _step_alone(conn)


def _three_steps(conn: sqlite3.Connection) -> None:
    reached = FIRST_RESEND
    for _ in range(3):
        reached = resend_steps.step(conn, NOW, reached).reached


def _created(conn: sqlite3.Connection, events: Sequence[str] = ("*",)) -> Webhook:
    values = {"url": "https://example.com/", "events": events, "secret": "s" * 20, "description": ""}
    return webhooks.create(conn, project_id="p", limit=100, now=NOW, **values)  # type: ignore[arg-type]


def _insert(conn: sqlite3.Connection) -> None:
    """As `outbox.insert` does, which makes a transaction of its own."""
    conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'lead.created', '{}')")


A_DELIVERY = f"dlv_{1:012x}l"
# One line a kind. Names are those of `storage/sqlite`; a second kind of the same function has words behind its name.
KINDS: dict[str, Kind] = {
    "batch.write": Kind(_write_batch),
    "batch.write, of a claim among resends, held and discarded ones": Kind(_claim),
    "batch.write, of a claim at webhooks with a rate limit": Kind(_claim_limited, before=_limit),
    "batch.write, of a claim at webhooks without a place": Kind(
        lambda conn: claiming.claim(conn, {BUSY: 8, "wh_hurried": 8}, NOW), before=_limit
    ),
    "starts.recent_starts": Kind(
        lambda conn: starts.recent_starts(conn, {BUSY: Rate(100, 3600)}, NOW, newest=500), before=_began_within_the_hour
    ),
    "fanout.fan_out": Kind(lambda conn: fanout.fan_out(conn, _rows(conn), timedelta(0), NOW)),
    "fanout.fan_out, by templates": Kind(
        lambda conn: fanout.fan_out(conn, _rows(conn), timedelta(0), NOW),
        before=lambda conn: conn.execute("UPDATE webhooks SET template = '{{ type }}' WHERE project_id = 'p'"),
    ),
    "batch.write, of a claim of what has no body": Kind(_claim, before=_unmake),
    "results.interrupt_open": Kind(lambda conn: results.interrupt_open(conn, SCHEDULE, NOW), before=_claim),
    "webhooks.create": Kind(_created),
    "webhooks.get": Kind(lambda conn: webhooks.get(conn, BUSY)),
    "webhooks.update": Kind(lambda conn: webhooks.update(conn, BUSY, events=["lead.*"], secret="t" * 20, now=NOW)),
    "webhooks.update, of its template": Kind(
        lambda conn: webhooks.update(conn, BUSY, options={"template": '"{{ type }}"'}, now=NOW)
    ),
    "webhooks.enable": Kind(lambda conn: webhooks.enable(conn, OFF, discard_held=False, now=NOW)),
    "webhooks.enable, discarding": Kind(lambda conn: webhooks.enable(conn, OFF, discard_held=True, now=NOW)),
    "webhooks.disable": Kind(lambda conn: webhooks.disable(conn, BUSY, NOW)),
    "webhooks.delete": Kind(lambda conn: webhooks.delete(conn, BUSY, NOW)),
    "webhooks.request_test": Kind(lambda conn: webhooks.request_test(conn, BUSY, "lead.created", "{}", NOW)),
    "revisions.revision": Kind(revisions.revision),
    "rotation.start": Kind(
        lambda conn: rotation.start(conn, BUSY, secret="t" * 20, switch_at=NOW + DAY, actor="operator", now=NOW)
    ),
    "rotation.cancel": Kind(
        lambda conn: rotation.cancel(conn, BUSY, actor="operator", now=NOW),
        before=lambda conn: rotation.start(conn, BUSY, secret="t" * 20, switch_at=NOW + DAY, actor="o", now=NOW),
    ),
    "rotation.reveal": Kind(lambda conn: rotation.reveal(conn, BUSY, actor="operator", now=NOW)),
    "rotation.settle": Kind(lambda conn: rotation.settle(conn, NOW, LIMIT)),
    "sealed.check": Kind(sealed.check),
    "sealed.is_key_new": Kind(sealed.is_key_new),
    "sealed.reseal": Kind(lambda conn: sealed.reseal(conn, "", LIMIT), before=lambda conn: seals_of(conn).add_key()),
    "sealed.finish": Kind(sealed.finish),
    "health.note_health_changes": Kind(lambda conn: health.note_health_changes(conn, NOW)),
    "health.has_failed_to_tell": Kind(lambda conn: health.has_failed_to_tell(conn, NOW)),
    "health.tell_failed": Kind(lambda conn: health.tell_failed(conn, NOW)),
    "disabling.disable_down": Kind(lambda conn: disabling.disable_down(conn, DAY, NOW)),
    "held.discard": Kind(lambda conn: held.discard(conn, LIMIT)),
    "held.TooLong": Kind(lambda conn: _steps_of(held.TooLong(NOW - 30 * DAY), conn)),
    "held.TooLong, where all is": Kind(lambda conn: _steps_of(held.TooLong(NOW + 2 * DAY), conn)),
    "deliveries.first_due_after": Kind(lambda conn: deliveries.first_due_after(conn, "", LIMIT)),
    "deliveries.request_resend": Kind(lambda conn: deliveries.request_resend(conn, A_DELIVERY, NOW)),
    "deliveries.erase_deleted": Kind(lambda conn: deliveries.erase_deleted(conn, LIMIT)),
    "deliveries.erase_deleted, what is left": Kind(
        lambda conn: deliveries.erase_deleted(conn, LIMIT),
        before=lambda conn: conn.execute("DELETE FROM deliveries WHERE webhook_id = 'wh_gone'"),
    ),
    "waits.shift_due": Kind(lambda conn: waits.shift_due(conn, DAY / 2, NOW)),
    "waits.shorten": Kind(lambda conn: waits.shorten(conn, SCHEDULE.waits, NOW)),
    "waits.has_later_times": Kind(lambda conn: waits.has_later_times(conn, NOW)),
    "deliveries.first_due": Kind(
        lambda conn: deliveries.first_due(conn, [BUSY, OFF, "wh_resent", "wh_discarding", "wh_hurried"])
    ),
    "resends.start": Kind(_begin_resend),
    "resends.cancel": Kind(lambda conn: resends.cancel(conn, TAIL, actor="operator", now=NOW)),
    "resends.cancel, of many webhooks": Kind(lambda conn: resends.cancel(conn, "rsd_wide", actor="operator", now=NOW)),
    "replays.start": Kind(_begin_replay()),
    "later_deliveries.send_to": Kind(
        lambda conn: later_deliveries.send_to(
            conn, "p", "evt_1", conn.execute("SELECT max(rowid), id FROM webhooks").fetchone()[1], NOW, actor="operator"
        ),
        before=_created,
    ),
    "resend_steps.step, of a replay": Kind(_step_alone, before=_replay_alone()),
    "resend_steps.step, of a replay that matches nothing": Kind(_step_alone, before=_replay_alone("sprint.*")),
    "batch.write, of a claim of what a replay has made": Kind(_claim_of_replay, before=_replay_and_step),
    "resend_steps.under_way": Kind(resend_steps.under_way),
    "resend_steps.step": Kind(_three_steps),
    "resend_steps.step, of one that is large": Kind(
        lambda conn: resend_steps.step(conn, NOW, (RUNNING, "")),
    ),
    "resend_steps.step, while parts are made": Kind(_three_steps, before=_begin_resend),
    "resend_steps.step, at the end of a large one": Kind(
        lambda conn: resend_steps.step(conn, NOW),
        before=lambda conn: conn.execute("DELETE FROM resend_webhooks WHERE resend_id <> ?", (TAIL,)),
    ),
    "retention.Sweep": Kind(_sweep("_prune_deliveries")),
    "retention.Sweep, of deliveries with few attempts": Kind(
        _sweep("_prune_deliveries"),
        before=lambda conn: conn.execute("DELETE FROM attempts WHERE delivery_id = ?", (A_DELIVERY,)),
    ),
    "retention.Sweep, events": Kind(_sweep("_prune_events")),
    "retention.Sweep, hours": Kind(_sweep("_prune_hours")),
    "retention.Sweep, audit": Kind(_sweep("_prune_audit")),
    "retention.Sweep, resends": Kind(_sweep("_prune_resends")),
    "retention.release_pages": Kind(lambda conn: retention.release_pages(conn, LIMIT)),
    "erasing.find": Kind(lambda conn: erasing.find(conn, _an_event(conn), None)),
    "erasing.search": Kind(lambda conn: erasing.search(conn, "nothing has this", None, None, 100)),
    "erasing.erasure": Kind(lambda conn: erasing.erasure([_seq(conn)], NOW).step(conn, LIMIT)),
    "erasing.Erasure": Kind(lambda conn: erasing.erasure([_seq(conn)], NOW).step(conn, LIMIT)),
    "erasing.OldBodies": Kind(lambda conn: _steps_of(erasing.OldBodies(NOW + DAY, NOW), conn)),
    "erasing.unclean_since": Kind(erasing.unclean_since),
    "erasing.note": Kind(lambda conn: erasing.note(conn, clock.text(NOW))),
    "erasing.note_clean": Kind(lambda conn: erasing.note_clean(conn, clock.text(NOW))),
    "erasing_outbox.OldPayloads": Kind(
        lambda conn: _steps_of(erasing_outbox.OldPayloads(NOW + DAY), conn), on_outbox=True
    ),
    "erasing_outbox.erase_of_events": Kind(
        lambda conn: erasing_outbox.erase_of_events(conn, [("p", "evt_1")]), on_outbox=True
    ),
    "erasing_outbox.erase_rows": Kind(lambda conn: erasing_outbox.erase_rows(conn, [1, 2]), on_outbox=True),
    "erasing_outbox.rejected_of": Kind(lambda conn: erasing_outbox.rejected_of(conn, "evt_1", "p"), on_outbox=True),
    "erasing_outbox.rejected_with_text": Kind(
        lambda conn: erasing_outbox.rejected_with_text(conn, "nothing", None, None, 0), on_outbox=True
    ),
    "producers.add": Kind(lambda conn: producers.add(conn, digest="d", project_id=None, actor="operator", now=NOW)),
    "producers.revoke": Kind(lambda conn: producers.revoke(conn, "prod_1", actor="operator", now=NOW)),
    "audit.note": Kind(lambda conn: audit.note(conn, "token.rotated", actor="operator", now=NOW, project_id="")),
    "connection.data_version": Kind(connection.data_version),
    "connection.shorten_wal": Kind(connection.shorten_wal),
    "outbox.identity": Kind(outbox.identity),
    "outbox.bind": Kind(lambda conn: conn.execute("UPDATE outbox_meta SET batch = batch"), on_outbox=True),
    "outbox.mark": Kind(
        lambda conn: outbox.mark(conn, [Mark(row, None) for row in _rows(conn)], 1, clock.text(NOW)),
        on_outbox=True,
    ),
    "marking.mark": Kind(
        lambda conn: marking.mark(conn, FanOut(), [Mark(row, None) for row in _rows(conn)], 1, clock.text(NOW)),
        on_outbox=True,
    ),
    "outbox.prune": Kind(lambda conn: outbox.prune(conn, clock.text(NOW), LIMIT), on_outbox=True),
    "rejected_rows.Sweep": Kind(
        lambda conn: _steps_of(rejected_rows.Sweep(clock.text(NOW - 30 * DAY)), conn), on_outbox=True
    ),
    "outbox.insert": Kind(_insert, on_outbox=True),
    "outbox.is_alone": Kind(outbox.is_alone, on_outbox=True),
    "stats.outbox": Kind(lambda conn: stats.outbox(conn, NOW), on_outbox=True),
    "stats.unread_rows": Kind(stats.unread_rows, on_outbox=True),
    "stats.wal_bytes": Kind(stats.wal_bytes, on_outbox=True),
    "unread.is_anything_unread": Kind(lambda conn: unread.is_anything_unread(conn, ReadPlan(20)), on_outbox=True),
    "unread.is_anything_unread, beside rows that are set apart": Kind(
        lambda conn: unread.is_anything_unread(conn, ReadPlan(20, excluded={row.id for row in _rows(conn)})),
        on_outbox=True,
    ),
    "unread.read_unread": Kind(_rows, on_outbox=True),
}


def _steps_of(walk: Walk, conn: sqlite3.Connection) -> None:
    for _ in range(3):
        assert walk.step(conn, LIMIT)


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
    "erasing.empty_wal": "empties the WAL, outside of a transaction",
    "erasing.empty_outbox_wal": "empties the WAL, outside of a transaction",
    "connection.transaction": "begins one",
    "connection.begin_reading": "begins one",
    "connection.end_reading": "ends one",
    "connection.large_rows": "sets how much memory is used",
    "triggers.trigger_error": "reads the names of triggers",
    "results.last_ends": "looks at 4,096 attempts at most, however many there are, at a start",
    "tables.schema_version": "reads the names of tables, and one row",
    "upkeep_store.SqliteResendingStore": "calls what is in the table",
    "journal.caution": "reads the journal mode",
    "stats.pending": "read on a connection that never writes",
    "stats.webhooks": "read on a connection that never writes",
    "resends.get": "read on a connection that never writes",
    "replays.count": "read on a connection that never writes",
    "resends.count": "read on a connection that never writes",
    "summaries.projects_of": "read on a connection that never writes",
    "previews.newest": "read on a connection that never writes",
    "previews.event": "read on a connection that never writes",
    "held.count": "read on a connection that never writes",
    "health.own_webhooks": "read on a connection that never writes",
    "outbox.open_outbox": "opens a file",
    "rejected_rows.newest": "looks at 10,000 rejected rows at most, however many there are",
}


def test_every_kind_of_transaction_is_in_the_table() -> None:
    """A function of `storage/sqlite` that is called with a writer's connection, by the daemon, a page, the API or a command."""
    called = set().union(
        *(_called(path) for path in SOURCE.rglob("*.py") if not path.is_relative_to(SOURCE / "storage")),
        *(_called(path) for path in (SOURCE / "storage" / "sqlite").glob("*_store*.py")),
        _called(SOURCE / "storage" / "sqlite" / "service.py"),
        _of_actions(),
    )
    called -= {one for one in called if one.startswith(("migrate.", "idle.", "backup."))}
    assert called - {name.split(",")[0] for name in KINDS} - APART.keys() == set()
    assert len(called) > 40, "calls are no longer recognised"


def _of_actions() -> set[str]:
    """Names of the functions that people's actions can call."""
    functions = set()
    for name, protocol in get_type_hints(SqliteActionStore).items():
        part = getattr(SqliteActionStore, name)
        if isinstance(part, ModuleType):
            functions |= {f"{part.__name__.split('.')[-1]}.{one}" for one in vars(protocol) if not one.startswith("_")}
    return functions


def _called(path: Path) -> set[str]:
    """Names, `module.function`, of what a file has called in a transaction or on a writer's connection."""
    tree = ast.parse(path.read_text())
    modules, functions = _imported(tree, of_the_engine="sqlite" in path.parts)

    def name(node: ast.expr) -> set[str]:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            return {f"{modules[node.value.id]}.{node.attr}"}
        return {functions[node.id]} if isinstance(node, ast.Name) and node.id in functions else set()

    def with_connection(block: ast.AST) -> set[str]:
        calls = (node for node in ast.walk(block) if isinstance(node, ast.Call) and node.args)
        return set().union(*(name(call.func) for call in calls if ast.unparse(call.args[0]).endswith("conn")))

    found: set[str] = set()
    for node in ast.walk(tree):
        if (isinstance(node, ast.With) and any(_opens(item.context_expr) for item in node.items)) or (
            isinstance(node, ast.FunctionDef) and "cli" not in path.parts and _takes_connection(node)
        ):
            found |= with_connection(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            by, how = ast.unparse(node.func.value), node.func.attr
            if how in ("write", "write_by", "run_in_turn") or (how == "run" and by.endswith(("database", "outbox"))):
                found |= name(node.args[0])
        if isinstance(node, ast.Call):  # a walk, whose steps are taken in transactions
            found |= {one for one in name(node.func) if _is_walk(one)}
    return found


def _imported(tree: ast.AST, *, of_the_engine: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return the modules of `storage/sqlite` and their functions that a file imports, by the names that they have there."""
    modules, functions = {}, {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        if of_the_engine and node.level == 1:
            module = node.module or ""
        elif node.module and node.module.startswith("storage.sqlite"):
            module = node.module.removeprefix("storage.sqlite").lstrip(".")
        else:
            continue
        for alias in node.names:
            if not module:
                modules[alias.asname or alias.name] = alias.name
            else:
                functions[alias.asname or alias.name] = f"{module}.{alias.name}"
    return modules, functions


def _opens(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("writing", "transaction")


def _takes_connection(node: ast.FunctionDef) -> bool:
    return "conn" in [argument.arg for argument in node.args.args[:2]]


def _is_walk(name: str) -> bool:
    module, one = name.split(".")
    return hasattr(getattr(getattr(sqlite, module, None), one, None), "step")
