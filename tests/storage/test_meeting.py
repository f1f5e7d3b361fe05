"""How options of a webhook meet, in pairs, and with what else happens to its deliveries (contract, *How these meet*).

Each option has a check that holds for whatever is claimed. Two of them at once are held by both checks, and so is each of them
beside a replay, a test, a resend, an erasing, a webhook that the service disables, a proxy in trouble, a template that makes
nothing of one event, the project's notices, and a secret that was tampered with. Every `now` is passed in;
`tests/delivery/test_proxied.py` has a real proxy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest

from almirant_webhooks.model import Claim, Outcome, Refused, Trigger
from almirant_webhooks.rules import filters
from almirant_webhooks.rules.replays import ReplaySelection
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.sending.proxy_answers import refusal
from almirant_webhooks.storage.engine import Work
from almirant_webhooks.storage.sql import (
    batch,
    claiming,
    deliveries,
    disabling,
    erasing,
    replays,
    resend_steps,
    search,
    webhooks,
)
from almirant_webhooks.storage.sql.allowance import Allowance

from ..support.steps import SCHEDULE, START, Steps, transaction
from ..upkeep.test_notices import give_up, look

pytestmark = pytest.mark.slow

EVENTS = 6
DAY = timedelta(days=1)
OPTIONS: dict[str, Any] = {
    "filter": filters.check(["data.n > 1"]),
    "template": '{"only": {{ data.n }}}',
    "headers": {"X-Team": "boards"},
    "rate_limit": "2/s",
    "ordered": True,
    "concurrency": 3,
}
# Of the events of a scene it makes nothing of one whose payload has a large text.
UNMADE = '{"only": "{{ data.n }}' + "{{ data.text }}" * 300 + '"}'
OF_NOTICES: dict[str, Any] = {
    "filter": filters.check(["data.count > 1"]),
    "template": '{"only": {{ data.count }}}',
}


class Scene:
    """A webhook with some options, the events of its project, and what is claimed for it."""

    def __init__(
        self,
        steps: Steps,
        names: tuple[str, ...],
        *,
        late: bool = False,
        events: tuple[str, ...] = ("*",),
        options: dict[str, Any] | None = None,
        large: int | None = None,
    ) -> None:
        self.steps, self.names, self.now, self.large = steps, names, START + DAY, large
        if late:
            self._take_events()
        with_options = {name: OPTIONS[name] for name in names} | (options or {})
        self.webhook = steps.webhook(events=events, options=with_options, now=self.now if late else START)
        if not late:
            self._take_events()
        self.in_flight: list[Claim] = []
        self.numbers: list[int] = []  # of the events that were begun, by their first scheduled attempts

    def _take_events(self) -> None:
        for number in range(EVENTS):
            payload = {"n": number} | ({"text": "x" * 1_000} if number == self.large else {})
            self.steps.event(START + timedelta(seconds=number), payload=json.dumps(payload))

    def claim(self) -> list[Claim]:
        """Claim as many as may begin, a second later, and hold each option's check."""
        self.now += timedelta(seconds=1)
        allowance = Allowance(
            in_flight={self.webhook.id: len(self.in_flight)}, per_webhook=8, places=lambda webhook, limit: int(limit[0])
        )
        with transaction(self.steps.conn):
            claims = claiming.claim(self.steps.conn, {self.webhook.id: 10}, self.now, allowance=allowance)
        self.in_flight += claims
        for name in self.names:
            CHECKS[name](self, claims)
        self.numbers += [number_of(claim) for claim in claims if claim.trigger is Trigger.SCHEDULED]
        return claims

    def end(self, outcome: Outcome = Outcome.SUCCESS, **more: Any) -> None:
        for claim in self.in_flight:
            self.steps.record(claim, outcome, self.now, **more)
        self.in_flight = []

    def send_all(self) -> list[int]:
        """Go on until nothing is left to begin; return the events in the order of their requests."""
        before = len(self.numbers)
        while self.claim():
            self.end()
        return self.numbers[before:]

    @property
    def expected(self) -> list[int]:
        return [number for number in range(EVENTS) if "filter" not in self.names or number > 1]


def number_of(claim: Claim) -> int:
    """Return the number of a claim's event; a notice's is its count."""
    body = json.loads(claim.body)
    if "only" in body:
        return int(body["only"])
    return int(body["data"]["n"] if "n" in body["data"] else body["data"]["count"])


def check_filter(scene: Scene, claims: list[Claim]) -> None:
    """It lets through what matches; a test goes past it."""
    assert all(number_of(claim) > 1 for claim in claims if not claim.test)


def check_template(scene: Scene, claims: list[Claim]) -> None:
    assert all(json.loads(claim.body).keys() == {"only"} for claim in claims)


def check_headers(scene: Scene, claims: list[Claim]) -> None:
    assert all(claim.webhook_headers == (("X-Team", "boards"),) for claim in claims)


def check_rate_limit(scene: Scene, claims: list[Claim]) -> None:
    """A resend counts as any; a test neither counts nor waits."""
    assert sum(not claim.test for claim in claims) <= 2
    assert all(claim.limited is not claim.test for claim in claims)


def check_ordered(scene: Scene, claims: list[Claim]) -> None:
    """One attempt on schedule at a time, in the order of the places."""
    scheduled = [claim for claim in scene.in_flight if claim.trigger is Trigger.SCHEDULED]
    assert len(scheduled) <= 1
    assert all(number_of(claim) > max(scene.numbers, default=-1) for claim in claims if claim in scheduled)


def check_concurrency(scene: Scene, claims: list[Claim]) -> None:
    assert len(scene.in_flight) <= 3


CHECKS: dict[str, Callable[[Scene, list[Claim]], None]] = {
    "filter": check_filter,
    "template": check_template,
    "headers": check_headers,
    "rate_limit": check_rate_limit,
    "ordered": check_ordered,
    "concurrency": check_concurrency,
}
# These two contradict each other; `tests/actions/test_refused_options.py` has the refusal.
PAIRS = [pair for pair in combinations(OPTIONS, 2) if pair != ("ordered", "concurrency")]


@pytest.mark.parametrize("names", PAIRS, ids=" and ".join)
def test_two_options_of_one_webhook_both_hold(steps: Steps, names: tuple[str, ...]) -> None:
    """At its deliveries, and what each leaves arrives once."""
    scene = Scene(steps, names)
    assert sorted(scene.send_all()) == scene.expected


def replayed(steps: Steps, name: str) -> None:
    """What a replay makes goes by the options of its moment, oldest first."""
    scene = Scene(steps, (name,), late=True)
    assert replay(scene) == len(scene.expected)
    assert scene.send_all() == scene.expected


def replay(scene: Scene) -> int:
    """Begin the replay of all that is kept, and make its deliveries; return how many it counted."""
    conn, selection = scene.steps.conn, ReplaySelection(scene.webhook.id, START - DAY)
    with transaction(conn):
        counted = replays.count(conn, selection, now=scene.now, kept=30 * DAY)
        replays.start(conn, selection, counted, actor="operator", now=scene.now)
        resend_steps.step(conn, scene.now, kept=30 * DAY)
    return counted["events"]


def tried(steps: Steps, name: str) -> None:
    """A test ignores filter, rate and order, has template and headers, and is one attempt."""
    scene = Scene(steps, (name,))
    scene.claim()
    if name == "concurrency":
        scene.end()  # its slots are the webhook's own
    with transaction(steps.conn):
        test = webhooks.request_test(steps.conn, scene.webhook.id, "lead.created", '{"n": 0}', scene.now)
    assert test in [claim.delivery_id for claim in scene.claim() if claim.test and claim.trigger is Trigger.MANUAL]
    scene.end()
    scene.send_all()
    assert sorted(scene.numbers) == scene.expected


def resent(steps: Steps, name: str) -> None:
    """A resend has the bytes of the first attempt, and is outside of an order."""
    scene = Scene(steps, (name,))
    first = scene.claim()[0]
    scene.end()
    assert steps.resend(first.delivery_id, scene.now)
    again = [claim for claim in scene.claim() if claim.trigger is Trigger.MANUAL]
    assert [(claim.delivery_id, claim.body, claim.number) for claim in again] == [(first.delivery_id, first.body, 2)]
    scene.end()
    scene.send_all()
    assert sorted(scene.numbers) == scene.expected


def disabled(steps: Steps, name: str) -> None:
    """One that has failed everything is disabled by the service; enabled again, the rest goes by its options."""
    scene = Scene(steps, (name,))
    for wait in SCHEDULE.waits:
        scene.now += wait
        scene.numbers.clear()
        while scene.claim():
            scene.end(Outcome.TIMEOUT)
    with transaction(steps.conn):
        assert len(disabling.disable_down(steps.conn, timedelta(hours=2), scene.now).webhooks) == 1
    steps.event(scene.now, payload='{"n": 9}')
    assert scene.claim() == []
    with transaction(steps.conn):
        webhooks.enable(steps.conn, scene.webhook.id, discard_held=False, now=scene.now)
    scene.numbers.clear()
    scene.now += DAY
    assert scene.send_all()[-1] == 9
    assert deliveries.first_due(steps.conn, [scene.webhook.id]) == {}


def erased(steps: Steps, name: str) -> None:
    """What waits of an erased event is cancelled, and the rest goes by the options."""
    scene = Scene(steps, (name,))
    gone = scene.expected[0]
    walk = erasing.erasure([1 + gone], scene.now)
    with transaction(steps.conn):
        while walk.step(steps.conn, 100):
            pass
    assert sorted(scene.send_all()) == scene.expected[1:]


def proxied(steps: Steps, name: str) -> None:
    """The proxy's own trouble costs neither a try nor a place in an order, and is no step towards being disabled."""
    scene = Scene(steps, (name,))
    for _ in range(1 + len(SCHEDULE.waits)):
        scene.numbers.clear()
        scene.now += timedelta(hours=1)
        assert scene.claim()
        scene.end(Outcome.INTERRUPTED, cause=refusal(407).cause, free=True)
    with transaction(steps.conn):
        assert disabling.disable_down(steps.conn, timedelta(hours=2), scene.now).webhooks == []
    scene.numbers.clear()
    assert sorted(scene.send_all()) == scene.expected
    assert {(row["state"], row["tries"]) for row in search.newest(steps.conn)} == {("succeeded", 1)}


def unmade(steps: Steps, name: str) -> None:
    """A delivery of which the template makes nothing holds nothing up, takes no place, and is no step towards being disabled."""
    scene = Scene(steps, (name,), options={"template": UNMADE}, large=3)
    (failed,) = search.newest(steps.conn, Selection(state="failed"))
    for wait in (timedelta(0), timedelta(hours=3)):
        scene.now += wait
        scene.numbers.clear()
        while scene.claim():
            scene.end(Outcome.TIMEOUT)
    with transaction(steps.conn):
        assert disabling.disable_down(steps.conn, timedelta(hours=2), scene.now).webhooks == []
    scene.numbers.clear()
    scene.now += DAY
    assert sorted(scene.send_all()) == [number for number in scene.expected if number != 3]
    assert steps.resend(failed["delivery_id"], scene.now)
    steps.event(scene.now, payload='{"n": 9}')
    assert scene.send_all() == [9]
    (again,) = search.newest(steps.conn, Selection(state="failed"))
    assert (again["delivery_id"], again["attempts"]) == (failed["delivery_id"], 0)
    assert deliveries.first_due(steps.conn, [scene.webhook.id]) == {}


def told(steps: Steps, name: str) -> None:
    """A project's notices go by the options of who subscribes to them, and so does a replay of them."""
    options = {name: OF_NOTICES.get(name, OPTIONS[name])}
    scene = Scene(steps, (name,), events=("almirant.delivery.failed",), options=options)
    failing, at = steps.webhook(events=["lead.*"], url="https://example.com/failing"), START
    for count in (1, 2, 3):
        for _ in range(count):
            steps.event(at)
        at = give_up(steps, failing, at)
        look(steps, at)
    expected = [2, 3] if name == "filter" else [1, 2, 3]
    assert sorted(scene.send_all()) == expected
    late = Scene(steps, (name,), late=True, events=("almirant.*",), options=options)
    assert replay(late) == len(expected)
    assert late.send_all() == expected
    everything = Scene(steps, (), late=True)
    others = steps.conn.execute("SELECT count(*) FROM events WHERE event_type NOT GLOB 'almirant.*'").fetchone()[0]
    assert replay(everything) == others


def tampered(steps: Steps, name: str) -> None:
    """Nothing begins with a secret that cannot be opened, and with a new one all that was held goes by the options."""
    scene = Scene(steps, (name,))
    if name in ("ordered", "rate_limit", "concurrency"):  # of which some are left
        scene.claim()
    tamper(scene)
    scene.end()
    stop(scene)
    with pytest.raises(Refused, match="disabled"):
        replay(scene)
    mend(scene)
    scene.send_all()
    assert sorted(scene.numbers) == scene.expected


def tampered_in_a_replay(steps: Steps, name: str) -> None:
    """What the replay has made is held, and then sent oldest first."""
    scene = Scene(steps, (name,), late=True)
    replay(scene)
    tamper(scene)
    stop(scene)
    mend(scene)
    assert scene.send_all() == scene.expected


def tamper(scene: Scene) -> None:
    """Copy another webhook's secret into the row."""
    other = scene.steps.webhook(project_id="q")
    query = "UPDATE webhooks SET secret = (SELECT secret FROM webhooks WHERE id = ?) WHERE id = ?"
    with transaction(scene.steps.conn):
        scene.steps.conn.execute(query, (other.id, scene.webhook.id))


def stop(scene: Scene) -> None:
    """Write the batch that meets the row: it begins nothing, disables the webhook, and all that waits is held."""
    conn, webhook_id = scene.steps.conn, scene.webhook.id
    work = Work(starts={webhook_id: 10}, per_webhook=8, places=lambda webhook, limit: 10)
    with transaction(conn):
        written = batch.write(conn, work, SCHEDULE, scene.now + timedelta(minutes=1), scene.steps.inside)
    assert (written.begun, set(written.unopenable)) == ([], {webhook_id})
    assert not webhooks.get(conn, webhook_id).enabled
    waiting = search.newest(conn, Selection(webhook_id=webhook_id, state="pending"))
    assert waiting
    assert all(row["held"] for row in waiting)


def mend(scene: Scene) -> None:
    """Give the webhook a new secret, and enable it."""
    conn = scene.steps.conn
    with transaction(conn):
        webhooks.update(conn, scene.webhook.id, secret="t" * 20, options={}, now=scene.now)
        webhooks.enable(conn, scene.webhook.id, discard_held=False, now=scene.now)
    scene.now += timedelta(minutes=2)


HAPPENS = [replayed, tried, resent, disabled, erased, proxied, unmade, told, tampered, tampered_in_a_replay]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("happens", HAPPENS, ids=lambda it: it.__name__)
def test_an_option_holds_whatever_happens(steps: Steps, name: str, happens: Callable[[Steps, str], None]) -> None:
    """Each thing that can happen says what it does; the option's own check holds at each claim of it."""
    happens(steps, name)
