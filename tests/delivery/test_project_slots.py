"""How many of a project's events have slots: what the reader of the outbox goes by."""

from __future__ import annotations

from collections.abc import Mapping

from almirant_webhooks.delivery.project_slots import ProjectSlots
from almirant_webhooks.delivery.scheduler import Scheduler

NOTHING: Mapping[str, int] = {}
WIDE: dict[tuple[str, str], tuple[str, ...]] = {("wide", "a.b"): ("w1", "w2", "w3", "w4")}


def test_a_project_of_which_nothing_is_known_has_no_limit() -> None:
    """The first event of a project tells which webhooks it has."""
    slots = ProjectSlots(8)
    assert slots.free("p", NOTHING) is None
    slots.learn({("p", "a.b"): ()}, {})
    assert slots.free("p", NOTHING) is None, "nobody wants it: each row is copied at once"


def test_an_event_takes_a_slot_of_each_webhook() -> None:
    """What is in flight, and what was given away already, is taken off; a part of an event is none."""
    slots = ProjectSlots(8)
    slots.learn({("p", "a.b"): ("one",), **WIDE}, {"one": 3})
    assert (slots.free("p", NOTHING), slots.free("wide", NOTHING)) == (5, 8)
    slots.begin("one")
    for _ in range(8):
        slots.begin("w1")
    assert (slots.free("p", NOTHING), slots.free("wide", NOTHING)) == (4, 6)
    assert slots.free("p", {"p": 3}) == 1
    slots.give_back("one")
    assert slots.free("p", slots.by_project({"one": 5, "w1": 7, "unknown": 3})) == 0


def test_a_project_has_a_slot_as_long_as_one_of_its_webhooks_has() -> None:
    """A receiver that hangs is not in the way of the others of its project."""
    slots = ProjectSlots(8)
    slots.learn(WIDE, {"w1": 8, "w2": 8, "w3": 8, "w4": 7})
    assert slots.free("wide", NOTHING) == 1
    slots.begin("w4")
    assert slots.free("wide", NOTHING) == 0


def test_a_webhook_is_counted_once_however_often_it_matches() -> None:
    """By other types of events, and with what it has in flight at the first time alone."""
    slots = ProjectSlots(8)
    for kind in ("a.b", "c.d", "a.b"):
        slots.learn({("p", kind): ("one",)}, {"one": 2})
    assert slots.free("p", NOTHING) == 6


def test_what_is_known_is_forgotten_when_webhooks_are_read_anew() -> None:
    """One of them may have been deleted, and with it the slots that nothing can begin with."""
    scheduler = Scheduler(256, 8)
    scheduler.begin("one")
    scheduler.of_projects.learn({("p", "a.b"): ("one",)}, scheduler.in_flight)
    scheduler.begin("one")
    assert scheduler.of_projects.free("p", NOTHING) == 6
    scheduler.forget_idle()
    assert scheduler.of_projects.free("p", NOTHING) is None
    scheduler.give_back("one")
    scheduler.of_projects.learn({("p", "a.b"): ("one",)}, scheduler.in_flight)
    assert scheduler.of_projects.free("p", NOTHING) == 7
