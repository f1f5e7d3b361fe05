"""How many attempts a rate limit lets begin: never more within its span, and nearly as many as that."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.delivery.rate_limits import SLOTS, UNLIMITED, RateLimits, Span
from almirant_webhooks.delivery.scheduler import Scheduler, Slots
from almirant_webhooks.model import Due
from almirant_webhooks.rules.rates import Rate
from almirant_webhooks.storage.engine import FanOut

AT = "2026-11-25T00:00:00.000Z"
LATER = "2026-11-25T01:00:00.000Z"
SECONDS = st.sampled_from((1, 60, 3600))


def begin_all(span: Span, at: float) -> int:
    """Begin as many attempts as a span has places; return how many."""
    places = span.places(at)
    span.count(at, places)
    return places


def most_within(starts: list[float], seconds: float) -> int:
    """Return the most attempts that began within any span of so many seconds, its ends included."""
    starts, most, first = sorted(starts), 0, 0
    for last, start in enumerate(starts):
        while starts[first] < start - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


@given(
    most=st.integers(1, 40),
    seconds=SECONDS,
    begin=st.floats(0, 1e7),
    waits=st.lists(st.tuples(st.floats(0, 2.5), st.integers(0, 40)), max_size=60),
)
def test_no_span_ever_holds_more_than_the_limit(
    most: int, seconds: int, begin: float, waits: list[tuple[float, int]]
) -> None:
    """Whenever it is asked for places, and however many of them are taken."""
    span, at, starts = Span(Rate(most, seconds)), begin, list[float]()
    for wait, wanted in waits:
        at += wait * seconds / 3
        for _ in range(min(wanted, span.places(at))):
            span.count(at)
            starts.append(at)
    assert most_within(starts, seconds) <= most


@given(most=st.integers(1, 10_000), seconds=SECONDS, begin=st.floats(0, 1e7), wait=st.floats(0, 0.9))
def test_a_backlog_gets_nine_tenths_of_the_limit_at_least(most: int, seconds: int, begin: float, wait: float) -> None:
    """When each place is taken as it comes free, whatever was taken before."""
    span, at, spans = Span(Rate(most, seconds)), begin, 20
    span.count(at, most // 3)
    at += wait * seconds
    end, count = at + spans * seconds, 0
    while at < end:
        count += begin_all(span, at)
        assert span.next_place() > at
        at = span.next_place()
    assert count >= 0.9 * most * (spans - 1)


def test_a_burst_goes_at_once_and_the_rest_as_places_come_free() -> None:
    span = Span(Rate(3, 60))
    assert span.places(1000) == 3
    for at in (1000.0, 1010.0, 1030.0):
        span.count(at)
    assert span.places(1030) == 0
    assert [span.places(at) for at in (1060, 1062, 1069, 1072, 1092)] == [0, 1, 1, 2, 3]


def test_the_next_place_is_free_when_its_time_has_come() -> None:
    """Not a moment later, so that nobody wakes up in vain."""
    span = Span(Rate(2, 1))
    for at in (5.0, 5.5):
        span.count(at)
    free_at = span.next_place()
    assert (span.places(free_at - 0.011), span.places(free_at)) == (0, 1)


def test_a_limit_that_was_lowered_waits_until_there_are_fewer() -> None:
    """The span may hold more than the limit: so many have to leave it first."""
    limits = RateLimits()
    limits.set_limit("w", "2/m")
    limits.advance(100)
    limits.fill("w", Rate(2, 60), [(at, 1) for at in (50.0, 60.0, 70.0, 80.0)])
    limits.wait("w")
    limits.advance(129)
    assert limits.places("w") == 0
    assert 70 + 60 < 129 + (limits.seconds_to_place(129) or 0) < 70 + 62


def test_what_began_out_of_order_counts_as_long_as_it_is_within_the_span() -> None:
    """A span is filled from the log; its times may go back before the machine started."""
    span = Span(Rate(10, 60))
    for at in (90.0, 45.0, -5.0, 60.0, -400.0):
        span.count(at)
    assert span.places(90) == 7
    assert not span.is_empty(100)
    assert span.is_empty(200)


def test_a_limit_has_no_place_until_its_span_is_filled() -> None:
    """A new one, and one that has changed: nobody knows yet what began."""
    limits = RateLimits()
    limits.advance(500)
    assert limits.places("w") == UNLIMITED
    assert limits.set_limit("w", "10/m")
    assert not limits.set_limit("w", "10/m")
    assert (limits.places("w"), limits.places_under("w", "10/m"), limits.is_any_unfilled) == (0, 0, True)
    assert limits.unfilled(1000) == {"w": Rate(10, 60)}
    limits.fill("w", Rate(10, 60), [(450.0, 1), (460.0, 1), (400.0, 9), (500.0, 1)])
    assert (limits.places("w"), limits.is_any_unfilled) == (7, False)
    assert limits.places_under("w", "5/h") == 0, "a transaction that reads another limit waits for the next filling"
    assert limits.set_limit("w", "5/h")
    assert limits.places("w") == 0
    assert limits.set_limit("w", None)
    assert (limits.places("w"), limits.is_any_unfilled) == (UNLIMITED, False)


def test_spans_are_filled_by_parts() -> None:
    """So many attempts are read at a time; a limit that is larger than that is read by itself."""
    limits = RateLimits()
    for number in range(500):
        limits.set_limit(f"w{number}", "1000/h" if number else "10000/h")
    assert len(limits.unfilled(5_000)) == 1
    assert len(limits.unfilled(20_000)) == 11
    limits.set_limit("w0", "1/s")
    assert next(iter(limits.unfilled(5_000))) == "w1"


def test_ten_thousand_full_spans_take_fifteen_megabytes_at_most() -> None:
    """Measured with two hundred."""
    tracemalloc.start()
    limits = RateLimits()
    limits.advance(4000)
    before, _ = tracemalloc.get_traced_memory()
    for number in range(200):
        webhook = f"wh_{number:020}"
        limits.set_limit(webhook, "5000/h")
        limits.fill(webhook, Rate(5000, 3600), ((400.0 + n, 50) for n in range(0, 3600, 36)))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 200 < 1500, "bytes for a webhook"


# In the scheduler


def limited(scheduler: Scheduler, limit: str | None, *, at: str = AT, test: bool = False, webhook: str = "w") -> None:
    """Give a webhook something due, under a limit."""
    scheduler.update_due({webhook}, {webhook: Due(at, "p", None, limit, test)})


def fill(scheduler: Scheduler, *starts: float, webhook: str = "w") -> None:
    """Fill a webhook's span as the loader does."""
    scheduler.fill_span(webhook, scheduler.rates.unfilled(100_000)[webhook], [(start, 1) for start in starts])


def begin(scheduler: Scheduler, at: float, webhook: str = "w") -> None:
    """Begin an attempt that counts."""
    scheduler.rates.count(webhook, at)
    scheduler.begin(webhook)
    scheduler.end(webhook, timed_out=False, duration_ms=5)


def proven() -> Scheduler:
    """Return a scheduler that knows the webhook `w` to answer."""
    there = Scheduler(256, 8)
    there.remember("w", timed_out=False, duration_ms=5)
    there.advance(1000.0)
    return there


@pytest.fixture
def scheduler() -> Scheduler:
    return proven()


def allocate(scheduler: Scheduler) -> dict[str, int]:
    return scheduler.allocate(AT, Slots(scheduler, 256))


def test_a_webhook_gets_as_many_slots_as_it_has_places(scheduler: Scheduler) -> None:
    """And none before its span is filled; beside the limit the one on requests at once holds as ever."""
    limited(scheduler, "3/m")
    assert allocate(scheduler) == {}
    assert scheduler.next_due() is None, "the filling puts it back"
    fill(scheduler, 990.0)
    assert allocate(scheduler) == {"w": 2}
    limited(scheduler, "100/m")
    fill(scheduler)
    assert allocate(scheduler) == {"w": 8}


def test_a_webhook_without_a_place_waits_for_one_and_wakes_nobody(scheduler: Scheduler) -> None:
    """It is in no queue meanwhile, and is there again when its place comes free."""
    limited(scheduler, "2/m")
    fill(scheduler)
    assert allocate(scheduler) == {"w": 2}
    begin(scheduler, 1000.0)
    begin(scheduler, 1020.0)
    limited(scheduler, "2/m")  # as read after the batch
    assert allocate(scheduler) == {}
    limited(scheduler, "2/m")
    assert scheduler.next_due() is None, "what is read again and has not changed costs nothing"
    assert 60 < (scheduler.rates.seconds_to_place(1000.0) or 0) < 61.5
    scheduler.advance(1040.0)
    assert allocate(scheduler) == {}
    scheduler.advance(1061.5)
    assert (allocate(scheduler), scheduler.rates.seconds_to_place(1061.5)) == ({"w": 1}, None)


def test_a_test_goes_though_there_is_no_place(scheduler: Scheduler) -> None:
    """One slot more, which the claim gives to a test alone."""
    limited(scheduler, "1/h", test=True)
    fill(scheduler, 999.0)
    assert allocate(scheduler) == {"w": 1}
    limited(scheduler, "1/h", at=LATER)
    assert allocate(scheduler) == {}


def test_a_webhook_that_is_held_waits_for_its_time_with_a_limit_or_without(scheduler: Scheduler) -> None:
    """Then it goes on by itself; the span of a limit is filled from the log anew, as others may have sent meanwhile."""
    limited(scheduler, "5/m")
    fill(scheduler)
    scheduler.remember("free", timed_out=False, duration_ms=5)
    scheduler.update_due({"free"}, {"free": Due(AT, "p")})
    scheduler.change_owner({"w": 1010.0, "free": 1020.0})
    assert allocate(scheduler) == {}
    assert scheduler.rates.seconds_to_place(1000.0) == 10.0
    scheduler.advance(1010.0)
    assert allocate(scheduler) == {}, "its span is not filled"
    fill(scheduler)
    assert allocate(scheduler) == {"w": 5}
    scheduler.advance(1020.0)
    assert allocate(scheduler)["free"] == 8


def test_a_webhook_whose_limit_is_taken_away_goes_on(scheduler: Scheduler) -> None:
    """By what is read with due times, and by what an event tells."""
    limited(scheduler, "1/h")
    fill(scheduler, 999.0)
    assert allocate(scheduler) == {}
    scheduler.learn(FanOut(enabled={("p", "a.b"): ["w"]}))
    assert allocate(scheduler) == {"w": 8}
    limited(scheduler, "1/h")
    fill(scheduler, 999.0)
    assert allocate(scheduler) == {}
    limited(scheduler, None)
    assert allocate(scheduler) == {"w": 8}
    assert scheduler.rates.seconds_to_place(1000.0) is None


def test_a_webhook_that_waits_no_longer_is_not_woken(scheduler: Scheduler) -> None:
    """Its deliveries were discarded, or are due later."""
    limited(scheduler, "1/h")
    fill(scheduler, 999.0)
    assert allocate(scheduler) == {}
    limited(scheduler, "1/h", at=LATER)
    assert scheduler.rates.seconds_to_place(1000.0) is None
    scheduler.advance(10_000.0)
    assert allocate(scheduler) == {}


def test_limits_of_webhooks_with_nothing_due_and_nothing_begun_lately_are_forgotten(scheduler: Scheduler) -> None:
    """They may be deleted; the next event of one tells its limit anew."""
    limited(scheduler, "10/m")
    fill(scheduler, 990.0)
    scheduler.update_due({"w"}, {})
    scheduler.forget_idle()
    assert scheduler.rates.places("w") == 9
    scheduler.advance(1090.0)
    scheduler.forget_idle()
    assert not scheduler.rates


def test_ten_thousand_webhooks_that_wait_cost_a_batch_nothing() -> None:
    """However many deliveries each has due: of none is anything asked, and nobody wakes up before the first place."""
    scheduler = Scheduler(256, 8)
    scheduler.advance(1000.0)
    due = {f"w{number}": Due(AT, f"p{number % 100}", None, "5000/h") for number in range(10_000)}
    scheduler.update_due(due.keys(), due)
    while wanted := scheduler.rates.unfilled(100_000):
        for webhook, rate in wanted.items():
            scheduler.fill_span(webhook, rate, [(990.0, rate.most)])
    assert allocate(scheduler) == {}
    looked_at: list[str] = []
    scheduler.free_slots = lambda webhook: looked_at.append(webhook) or 0  # type: ignore[method-assign,func-returns-value]
    scheduler.advance(1001.0)
    assert (allocate(scheduler), scheduler.next_due(), looked_at) == ({}, None, [])
    assert (scheduler.rates.seconds_to_place(1001.0) or 0) > 3500


def test_the_memory_of_a_span_is_that_of_its_slots() -> None:
    """Not of what it counts."""
    span = Span(Rate(10_000, 1))
    for number in range(10_000):
        span.count(number / 1000)
    assert len(span._counts) == SLOTS
