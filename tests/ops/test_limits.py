"""What we are short of ourselves: what fits into the limits, what is ours, and how fewer requests become more again."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks import clock
from almirant_webhooks.delivery.network import Outage
from almirant_webhooks.delivery.shortage import QUIET, REST, Shortage
from almirant_webhooks.model import Misconfigured, Outcome, Result, Trigger
from almirant_webhooks.ops import limits
from almirant_webhooks.ops.threads import Call, Threads
from almirant_webhooks.rules.urls import Policy
from almirant_webhooks.sending.causes import classify_error
from almirant_webhooks.sending.own_faults import (
    AFTER_FAULT,
    INTERNAL,
    NO_FILES,
    NO_MEMORY,
    NO_THREAD,
    interrupted_by_us,
    own_fault,
)
from almirant_webhooks.sending.resolver import Resolver
from almirant_webhooks.storage.sql import results
from almirant_webhooks.storage.sqlite.connection import transaction

from ..faults.test_outage import ended
from ..support.steps import SCHEDULE, START, Steps


def record(steps: Steps, result: Result) -> None:
    with transaction(steps.conn):
        results.record(steps.conn, [result], SCHEDULE)


@given(st.integers(limits.LEAST_FILES, 2**20), st.integers(1, 10_000))
def test_what_fits_is_within_the_limit_and_never_more_than_configured(files: int, configured: int) -> None:
    """Two files for each request under way, one for each idle connection, and those of the daemon itself."""
    fit = limits.fit(files, configured)
    assert 1 <= fit.concurrency <= configured
    assert fit.idle >= 0
    assert fit.web >= 4
    assert limits.OWN_FILES + fit.web + fit.idle + fit.concurrency <= files
    assert limits.OWN_FILES + fit.web + 2 * fit.concurrency <= files
    assert limits.fit(files + 1, configured).concurrency >= fit.concurrency


def test_the_usual_limit_lowers_nothing() -> None:
    """systemd's hard limit, and the 1,024 of many shells, are enough for the default."""
    assert limits.fit(1024, 256).concurrency == 256
    assert limits.fit(64, 256).concurrency == 8


def test_too_few_files_are_refused() -> None:
    """With the ways to raise the limit."""
    with pytest.raises(Misconfigured, match="LimitNOFILE"):
        limits.fit(limits.LEAST_FILES - 1, 256)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), NO_FILES),
        (OSError(errno.ENFILE, "Too many open files in system"), NO_FILES),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), NO_MEMORY),
        (OSError(errno.ENOBUFS, "No buffer space available"), NO_MEMORY),
        (MemoryError(), NO_MEMORY),
        (socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), NO_MEMORY),
        (RuntimeError("can't start new thread"), NO_THREAD),
        (OSError(errno.EAGAIN, "no thread can be started"), NO_THREAD),
    ],
)
def test_what_is_ours_is_interrupted_also_within_another_error(error: Exception, words: str) -> None:
    """And is the same whether it comes alone or as the cause of another."""
    caused = ValueError("by that")
    caused.__cause__ = error
    for caught in (error, caused):
        assert own_fault(caught) == words
        assert classify_error(caught)[:2] == (Outcome.INTERRUPTED, words)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL])
def test_what_is_the_receiver_s_is_not_ours(number: int) -> None:
    """A refused connection is no shortage."""
    assert own_fault(OSError(number, "no")) is None
    assert own_fault(RuntimeError("Session is closed")) is None


@pytest.mark.parametrize(("error", "again"), [(KeyError("a fault"), AFTER_FAULT), (MemoryError(), 0.0)])
def test_a_fault_of_ours_costs_no_try_however_often_it_is_met(steps: Steps, error: Exception, again: float) -> None:
    """An internal error waits a minute, so that a bug that one delivery meets is not met all the time."""
    webhook = steps.webhook()
    steps.event()
    now = START
    for _ in range(len(SCHEDULE.waits) + 3):
        (claim,) = steps.claim(webhook, now)
        result = interrupted_by_us(claim, error, now)
        record(steps, result)
        row = steps.only()
        assert (row["state"], row["tries"], row["status"]) == ("pending", 0, "interrupted")
        now = clock.parse(row["next_attempt_at"])
        assert (now - result.finished_at).total_seconds() == again


@pytest.mark.parametrize(("error", "again"), [(MemoryError(), 1), (KeyError("a fault"), 0)])
def test_a_resend_that_meets_a_fault_of_ours_is_not_made_again_and_again(
    steps: Steps, error: Exception, again: int
) -> None:
    """It is one attempt; only what we are short of has it made once more."""
    webhook = steps.webhook()
    steps.event()
    done = steps.attempt(webhook, START, Outcome.SUCCESS, status_code=200)
    assert steps.resend(done.delivery_id, START)
    (claim,) = steps.claim(webhook, START)
    assert claim.trigger is Trigger.MANUAL
    record(steps, interrupted_by_us(claim, error, START))
    assert len(steps.claim(webhook, START)) == again


def test_a_shortage_halves_what_is_under_way_and_doubles_it_each_second_that_goes_well() -> None:
    """And nothing begins within the second after the last sign of it."""
    short = Shortage()
    assert short.allowed_starts(128, 0, 0.0) == 128
    for _ in range(40):  # many fail at once: that is one sign
        short.observe(NO_FILES, 80, 10.0)
    assert short.reason == NO_FILES
    assert short.allowed_starts(128, 0, 10.0 + REST / 2) == 0
    assert [short.allowed_starts(128, 0, 10.0 + REST + second) for second in range(3)] == [40, 80, 128]
    assert short.allowed_starts(128, 30, 10.0 + REST) == 10
    short.observe(NO_FILES, 20, 12.0)
    assert short.allowed_starts(128, 0, 12.0 + REST) == 10


def test_a_shortage_is_over_after_an_answer_and_some_quiet() -> None:
    """Not by time alone: nobody knows whether there is enough until a request was made."""
    short = Shortage()
    short.observe(NO_THREAD, 1, 0.0)
    assert short.allowed_starts(128, 0, 1000.0) == 128
    assert short.reason == NO_THREAD
    short.observe_answer(1000.0)
    assert short.allowed_starts(128, 0, 1000.0 + QUIET) == 128
    assert short.reason is None


def test_while_short_new_deliveries_wait_for_their_turn() -> None:
    """They are made, and begin among what is due, as many as there is room for."""
    outage = Outage()
    outage.evaluate(4, 0.0)
    short = ended("a.example.com")._replace(outcome=Outcome.INTERRUPTED, cause=NO_FILES)
    assert outage.observe(short, 0.0) == [short._replace(free=True)]
    assert outage.reason == NO_FILES
    assert outage.new_must_wait
    assert outage.allowed_starts(128, 0, 0.5) == 0
    assert outage.allowed_starts(128, 0, REST) == 2
    assert outage.next_check(0.0) == REST


def test_an_internal_error_pauses_nobody_else() -> None:
    """It may be one delivery that meets it."""
    outage = Outage()
    result = ended("a.example.com")._replace(outcome=Outcome.INTERRUPTED, cause=INTERNAL, free=True)
    assert outage.observe(result, 0.0) == [result]
    assert outage.reason is None
    assert outage.allowed_starts(128, 0, 0.0) == 128


async def test_a_call_without_a_thread_of_its_own_waits_for_one_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a lookup that could not begin in time is ours: it says so instead of counting as the receiver's silence."""
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    threads = Threads("look up")
    threads.start(1)

    def block(*_: object) -> list[tuple[Any, ...]]:
        loop.call_soon_threadsafe(begun.set)
        release.wait()
        return []

    blocked = threads.call(block)
    await begun.wait()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    waiting: Call[list[object]] = threads.call(list)
    monkeypatch.setattr("almirant_webhooks.sending.resolver.QUICK", 0.01)
    with pytest.raises(OSError, match="no thread can be started") as raised:
        await Resolver(Policy(), block, threads).resolve("example.com", 443)
    assert own_fault(raised.value) == NO_THREAD
    assert not waiting.begun
    release.set()
    assert await waiting.future == []
    await blocked.future
    threads.stop()


async def test_a_call_gets_a_thread_of_its_own_while_those_of_the_start_are_busy() -> None:
    """A name that never answers is in no other's way."""
    release = threading.Event()
    threads = Threads("look up")
    threads.start(1)
    busy = [threads.call(release.wait) for _ in range(5)]
    assert await threads.call(int).future == 0
    release.set()
    assert all([await call.future for call in busy])
    with pytest.raises(ZeroDivisionError):
        await threads.call(lambda: 1 // 0).future
    threads.stop()
