"""Bugs that can be put into the delivery loop, by name: each function puts one in for the length of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty
from types import ModuleType
from typing import Any

import pytest

from almirant_webhooks.delivery import attempts as attempts_module
from almirant_webhooks.delivery.attempts import Attempts
from almirant_webhooks.delivery.outbox_reader import OutboxReader
from almirant_webhooks.delivery.queues import Queue, ReadyWebhooks
from almirant_webhooks.delivery.rate_limits import RateLimits
from almirant_webhooks.delivery.result_queue import ResultQueue
from almirant_webhooks.delivery.scheduler import Scheduler
from almirant_webhooks.model import Claim, Outcome, Result
from almirant_webhooks.sending import sender as sender_module
from almirant_webhooks.sending.sender import Prepared, Sender
from almirant_webhooks.storage.engine import FanOut, ReadPlan
from almirant_webhooks.storage.sql import batch, claiming, deliveries, order, results
from almirant_webhooks.storage.sql.allowance import Allowance
from almirant_webhooks.storage.sqlite import marking, unread
from almirant_webhooks.storage.sqlite.connection import Connection
from almirant_webhooks.storage.sqlite.worker import Worker
from almirant_webhooks.storage.turns import next_rows

# A wake-up is lost


def looks_before_it_says_that_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    def are(self: ResultQueue, enough: int) -> bool:
        there = len(self._handed_over) >= enough
        self._enough = enough
        return there

    monkeypatch.setattr(ResultQueue, "wake_at", are)


def looks_whether_to_wake_before_it_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def hand_over(self: ResultQueue, result: Result, held_ms: int) -> None:
        wakes = 0 < self._enough <= len(self._handed_over) + 1
        self._handed_over.append((result, held_ms))
        if wakes:
            self._wake()

    monkeypatch.setattr(ResultQueue, "hand_over", hand_over)


def wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ResultQueue, "hand_over", lambda self, result, held_ms: self._handed_over.append((result, held_ms))
    )


def rests_without_another_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was handed over during a step is called, and then the thread rests as that step said."""

    def serve(self: Worker, conn: Connection) -> None:
        while not self._closing:
            rest = self._take_step(conn)
            self._call_all(conn)
            with suppress(Empty):
                self._call(conn, self._calls.get(block=rest is None or rest > 0, timeout=rest))
            self._call_all(conn)
        self._call_all(conn)

    monkeypatch.setattr(Worker, "_serve", serve)


def takes_no_note_of_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OutboxReader, "check_for_commits", lambda self, *, changed: None)


# A request leaves before its commit


def goes_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = Attempts.prepare

    def prepare_and_go(self: Attempts, claims: Sequence[Claim]) -> None:
        prepare(self, claims)
        self.send()

    monkeypatch.setattr(Attempts, "prepare", prepare_and_go)


def goes_though_the_commit_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attempts, "drop", Attempts.send)


# A row of the outbox is read twice


def loses_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marking, "mark", lambda *_, **__: None)


def forgets_what_is_not_marked_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = OutboxReader.plan_read

    def with_none_apart(self: OutboxReader, *values: Any, **options: Any) -> ReadPlan | None:
        rows = asked(self, *values, **options)
        return rows and rows._replace(excluded=())

    monkeypatch.setattr(OutboxReader, "plan_read", with_none_apart)


def reads_rows_that_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "_excluding", lambda query, value, asked: (query.format(excluded=""), ()))


# A project is starved


def begins_at_the_first_project_again(monkeypatch: pytest.MonkeyPatch) -> None:
    took = OutboxReader.confirm_read

    def took_and_forgot(self: OutboxReader, done: FanOut | None, at: float) -> None:
        took(self, done, at)
        self._after = ""

    monkeypatch.setattr(OutboxReader, "confirm_read", took_and_forgot)


def reads_from_the_first_project_on(monkeypatch: pytest.MonkeyPatch) -> None:
    read = unread.read_unread
    monkeypatch.setattr(unread, "read_unread", lambda conn, asked, **how: read(conn, asked._replace(after=""), **how))


def reads_the_oldest_rows_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        unread, "next_rows", lambda line, plan, most=0: sorted(row for _, rows in line for row in rows)[: plan.max_rows]
    )


def reads_nothing_but_rows_of_those_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    read = next_rows
    monkeypatch.setattr(
        unread, "next_rows", lambda line, plan, most=0: read(line, plan._replace(of_few=2 * plan.of_few), most)
    )


def begins_with_those_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    read = next_rows
    monkeypatch.setattr(unread, "next_rows", lambda line, plan, most=0: read(line, plan, most)[::-1])


def goes_on_behind_those_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    plan_read = OutboxReader.plan_read

    def plan(self: OutboxReader, *values: Any, **how: Any) -> ReadPlan | None:
        made = plan_read(self, *values, **how)
        return None if made is None else made._replace(note_few=lambda ids: None)

    monkeypatch.setattr(OutboxReader, "plan_read", plan)


def has_nobody_leave_the_front(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(self: Scheduler, webhook: str) -> None:
        self.in_flight[webhook] += 1
        self.slow_in_flight += webhook in self.slow

    monkeypatch.setattr(Scheduler, "begin", begin)


def keeps_the_first_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands in a line already stays where it is."""
    put = Queue.put
    places: dict[tuple[Queue, str], int] = {}
    monkeypatch.setattr(Queue, "put", lambda self, name, place: put(self, name, places.setdefault((self, name), place)))


def moves_a_project_in_one_half_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadyWebhooks, "move", lambda self, project, place: None)


# A slot is never given back


def loses_interrupted_results(monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over = ResultQueue.hand_over

    def lose(self: ResultQueue, result: Result, held_ms: int) -> None:
        if result.outcome is not Outcome.INTERRUPTED:
            hand_over(self, result, held_ms)

    monkeypatch.setattr(ResultQueue, "hand_over", lose)


def gives_back_no_slot_of_interrupted_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    give_back = Scheduler.release

    def end(self: Scheduler, webhook: str, *, timed_out: bool, duration_ms: int) -> None:
        give_back(self, webhook)
        self.remember(webhook, timed_out=timed_out, duration_ms=duration_ms)

    monkeypatch.setattr(Scheduler, "end", end)
    monkeypatch.setattr(Scheduler, "release", lambda self, webhook: None)


def lets_faults_of_ours_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    def escape(claim: Claim, error: BaseException, at: object) -> Result:
        raise error

    monkeypatch.setattr(attempts_module, "interrupted_by_us", escape)
    monkeypatch.setattr(sender_module, "interrupted_by_us", escape)


def gives_back_no_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "release", lambda self, webhook: None)


def loses_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over, count = ResultQueue.hand_over, iter(range(1, 1000))

    def lose(self: ResultQueue, result: Result, held_ms: int) -> None:
        if next(count) != 10:
            hand_over(self, result, held_ms)

    monkeypatch.setattr(ResultQueue, "hand_over", lose)


# More begins than a webhook takes


def fills_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log has of attempts that began counts in no rate limit."""
    fill = Scheduler.fill_span
    monkeypatch.setattr(Scheduler, "fill_span", lambda self, webhook, rate, starts: fill(self, webhook, rate, ()))


def counts_no_attempt_that_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "count", lambda self, begun, at: None)


def keeps_a_webhook_without_a_place_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RateLimits, "wait", lambda self, webhook: None)


def believes_the_concurrency_that_it_has_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that was taken away bounds nothing in the transaction that reads so."""
    read = Allowance.read

    def read_what_is_there(self: Allowance, webhook: str, concurrency: int | None, rate_limit: str | None) -> None:
        self._concurrency = {}
        read(self, webhook, concurrency, rate_limit)

    monkeypatch.setattr(Allowance, "read", read_what_is_there)


# The order of an ordered webhook is broken


def begins_beside_one_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for what may begin does not look at what is under way."""
    looks_beside_one_in_flight(monkeypatch)
    has_new_ones_begin_beside_an_older_one(monkeypatch)
    _replace(monkeypatch, claiming, "_DUE", order.must_wait("a.webhook", "d.rowid"), "0")


def claims_by_due_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of other webhooks: what has been due longest, and not the oldest, which a crash or a failure puts off."""
    next_one = order.first_waiting("a.webhook", "a.generation")
    _replace(
        monkeypatch, claiming, "_DUE", next_one, next_one.replace("ORDER BY r.rowid", "ORDER BY r.next_attempt_at")
    )


def skips_a_head_in_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    next_one = order.first_waiting("a.webhook", "a.generation")
    of_due_ones = next_one.replace("r.next_attempt_at IS NOT NULL", "r.next_attempt_at <= ?2")
    _replace(monkeypatch, claiming, "_DUE", next_one, of_due_ones)


def has_new_ones_begin_beside_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "in_turn", lambda take, free: take)


def looks_beside_one_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread would look again and again."""
    for name in ("_FIRST_DUE_OF", "_FIRST_DUE_OF_BATCH"):
        _replace(monkeypatch, deliveries, name, f"NOT {order.must_wait('w.id', 'd.rowid')}", "1")


def lets_the_next_one_go_at_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told that the one before has ended."""
    read = deliveries.first_due_and_revision

    def read_without_ends(conn: Connection, touched: set[str], ended: Iterable[str] = ()) -> Any:
        return read(conn, touched)

    monkeypatch.setattr(batch, "first_due_and_revision", read_without_ends)


def _replace(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, true: str, false: str) -> None:
    text = getattr(module, name)
    assert text.count(true) == 1
    assert true != false
    monkeypatch.setattr(module, name, text.replace(true, false))


# An outcome is recorded for another attempt


def takes_the_attempt_that_began_last(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Sender.begin
    latest: list[Claim] = []

    def begin_and_mix_up(self: Sender, prepared: Prepared, ended: Callable[[Result], None]) -> asyncio.Future[Any]:
        latest.append(prepared.claim)
        return begin(self, prepared, lambda result: ended(result._replace(claim=latest[-1])))

    monkeypatch.setattr(Sender, "begin", begin_and_mix_up)


def takes_the_attempts_in_the_order_of_their_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Sender.begin
    begun: list[Claim] = []

    def begin_and_mix_up(self: Sender, prepared: Prepared, ended: Callable[[Result], None]) -> asyncio.Future[Any]:
        begun.append(prepared.claim)
        return begin(self, prepared, lambda result: ended(result._replace(claim=begun.pop(0))))

    monkeypatch.setattr(Sender, "begin", begin_and_mix_up)


def records_by_the_delivery_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    record = results.record
    number = "SELECT begun FROM deliveries WHERE id = ?"

    def record_for_the_last(conn: Connection, group: Sequence[Result], *more: Any) -> int:
        begun = [conn.execute(number, (result.claim.delivery_id,)).fetchone()[0] for result in group]
        return record(
            conn,
            [
                result._replace(claim=result.claim._replace(number=last))
                for result, last in zip(group, begun, strict=True)
            ],
            *more,
        )

    monkeypatch.setattr(results, "record", record_for_the_last)
