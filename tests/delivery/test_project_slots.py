"""How many of a project's events have slots: what the reader of the outbox goes by."""

from __future__ import annotations

from collections import Counter

from almirant_webhooks.delivery.project_slots import ProjectSlots
from almirant_webhooks.delivery.scheduler import LIMIT_UNPROVEN, Scheduler

WIDE = {("wide", "a.b"): ("w1", "w2", "w3", "w4")}


def _slots(**in_flight: int) -> ProjectSlots:
    slots = ProjectSlots(Counter(in_flight), lambda webhook: 8)
    slots.learn({("p", "a.b"): ("one",)})
    slots.learn(WIDE)
    return slots


def test_a_project_of_which_nothing_is_known_has_no_limit() -> None:
    """The first event of a project tells which webhooks it has."""
    slots = ProjectSlots({}, lambda webhook: 8)
    assert slots.free("p", {}) is None
    slots.learn({("p", "a.b"): ()})
    assert slots.free("p", {}) is None, "nobody wants it: each row is copied at once"


def test_an_event_takes_a_slot_of_each_webhook() -> None:
    """What is in flight, and what is given away in the same batch, is taken off; a part of an event counts as one."""
    slots = _slots(one=3, w1=8)
    assert (slots.free("p", {}), slots.free("wide", {})) == (5, 6)
    assert slots.free("p", {"one": 3, "w1": 7, "unknown": 3}) == 2
    assert slots.free("p", {"one": 5}) == 0


def test_a_project_has_a_slot_as_long_as_one_of_its_webhooks_has() -> None:
    """A receiver that hangs is not in the way of the others of its project."""
    assert _slots(w1=8, w2=8, w3=8, w4=7).free("wide", {}) == 1
    assert _slots(w1=8, w2=8, w3=8, w4=8).free("wide", {}) == 0


def test_a_webhook_s_own_limit_counts_in_place_of_the_setting_s() -> None:
    """One that has more under way than its limit allows by now takes no slot of the others."""
    concurrency = {"w1": 2, "w2": 64}
    slots = ProjectSlots(Counter(w1=40), lambda webhook: concurrency.get(webhook, 8))
    slots.learn({("wide", "a.b"): ("w1", "w2", "w3", "w4")})
    assert slots.free("wide", {}) == (64 + 8 + 8) / 4
    concurrency.clear()
    assert slots.free("wide", {"w2": 8, "w3": 8, "w4": 7}) == 1


def test_a_webhook_is_counted_once_however_often_it_matches() -> None:
    """By other types of events, too."""
    slots = _slots(one=2)
    for kind in ("a.b", "c.d", "a.b"):
        slots.learn({("p", kind): ("one",)})
    assert slots.free("p", {}) == 6


def test_what_is_known_is_forgotten_when_webhooks_are_read_anew() -> None:
    """One of them may have been deleted, and with it the slots that nothing can begin with."""
    scheduler = Scheduler(256, 8)
    scheduler.remember("one", timed_out=False, duration_ms=1)
    scheduler.project_slots.learn({("p", "a.b"): ("one",)})
    scheduler.begin("one")
    assert scheduler.project_slots.free("p", {}) == 7
    scheduler.forget_idle()
    assert scheduler.project_slots.free("p", {}) is None
    scheduler.release("one")
    scheduler.project_slots.learn({("p", "a.b"): ("one",)})
    assert scheduler.project_slots.free("p", {}) == 8


def test_a_webhook_that_does_not_answer_has_no_more_slots_than_it_gets() -> None:
    """Rows that were copied for the rest of them could not begin, and would take the place of those of others."""
    scheduler = Scheduler(256, 8)
    scheduler.project_slots.learn({("p", "a.b"): ("one",)})
    assert scheduler.project_slots.free("p", {}) == LIMIT_UNPROVEN
    for _ in range(LIMIT_UNPROVEN):
        scheduler.begin("one")
    assert scheduler.project_slots.free("p", {}) == 0
    scheduler.end("one", timed_out=False, duration_ms=1)
    assert scheduler.project_slots.free("p", {}) == 8 - LIMIT_UNPROVEN + 1
    scheduler.end("one", timed_out=True, duration_ms=10_000)
    assert scheduler.project_slots.free("p", {}) == LIMIT_UNPROVEN
