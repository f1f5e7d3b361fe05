"""What the delivery loop and an engine tell each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ...model import Claim, Due, Result
from .errors import TriggerFails

# More than that in one transaction would keep the others waiting.
MAX_DELIVERIES = 512

# How far steps have come through waits: webhook, generation, time and row of the last one that was looked at.
Place = tuple[str, int, str, int]
BEGIN: Place = ("", 0, "0001-01-01T00:00:00.000Z", 0)


class OutboxRow(NamedTuple):
    """A row of the outbox, its fields as text or, where one of those that are read with it is not plain text, all as bytes.

    `size` is that of the payload in bytes, which is None when it is larger than an event may be. Bytes are of the `encoding`.
    `version` is another one once somebody has changed the row, for an engine that has such a thing.
    """

    id: int
    event_id: str | bytes
    project_id: str | bytes
    event_type: str | bytes
    occurred_at: str | bytes
    size: int
    payload: str | bytes | None
    is_object: bool
    encoding: str = "UTF-8"
    version: str = ""

    @property
    def project(self) -> str:
        """The project's id as text, whatever its bytes are."""
        if isinstance(self.project_id, str):
            return self.project_id
        return self.project_id.decode(self.encoding, "replace")


class ReadPlan(NamedTuple):
    """Which rows to read: at most `max_rows`, by turns of the projects behind `after`, and none of those `excluded`.

    So many `projects` are looked at, or as many as rows are read. Of a project there are at most as many rows as `limit` says,
    which is called once for each that is looked at; None: any number. So many rows at most are `of_few`: of projects that have
    few, before their turn; `note_few` is called with the ids of those.
    """

    max_rows: int
    after: str = ""
    excluded: Collection[int] = ()
    limit: Callable[[str], int | None] = lambda project: None
    projects: int | None = None
    of_few: int = 0
    note_few: Callable[[Iterable[int]], object] = lambda ids: None


class Mark(NamedTuple):
    """The daemon's answer to one row: taken, or rejected with a reason."""

    row: OutboxRow
    rejected_reason: str | None

    @property
    def is_slow(self) -> bool:
        """Tell whether the row is larger than an event may be: an engine may write all of it anew, be it a gigabyte."""
        return self.row.payload is None


@dataclass(slots=True)
class FanOut:
    """What one batch came to: the answers for the outbox, the webhooks that have something due, and counts."""

    batch: int = 0
    marks: list[Mark] = field(default_factory=list)
    due: set[str] = field(default_factory=set)
    enabled: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # by project and event type
    concurrency: dict[str, int] = field(default_factory=dict)  # of the webhooks that say how many they want at once
    rate_limits: dict[str, str] = field(default_factory=dict)  # of the webhooks that have one
    events: int = 0
    deliveries: int = 0
    failed: list[str] = field(default_factory=list)  # deliveries for which a template made no body
    duplicates: int = 0
    unmatched: int = 0
    swallowed: list[int] = field(
        default_factory=list
    )  # rows of erased events that came again: their payloads go as well
    filtered_out: int = 0
    types: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    unopenable: dict[str, str] = field(default_factory=dict)  # webhooks whose secrets cannot be opened, and why
    seconds: float = 0.0
    refused: set[int] = field(default_factory=set)  # rows that an application's trigger keeps from being marked
    refusal: TriggerFails | None = None

    @property
    def rejected(self) -> list[Mark]:
        """The rows that were refused, each with its reason."""
        return [answer for answer in self.marks if answer.rejected_reason]

    def replace(self, marks: Sequence[Mark]) -> None:
        """Take over other answers than those that were given before."""
        others = {mark.row.id: mark for mark in marks}
        self.marks = [others.get(mark.row.id, mark) for mark in self.marks]


class Work(NamedTuple):
    """What a transaction is to do.

    `rows` were read from an outbox apart from the database; `to_read` says which to read from the one in it. New deliveries
    begin for which `take_slot` gives a slot, told whether all that was due at the webhook has just been claimed. No rows follow
    those that came to `max_deliveries` deliveries. `in_flight` are the attempts under way, by webhook: one that says how many it
    wants at once gets no more than that beside them, whatever `starts` and `take_slot` allow; one that said so, by `concurrency`,
    and does not any more, gets `per_webhook`. `places` says how many attempts of a webhook with a rate limit may begin, by the
    limit that the transaction reads. `prepare` is called with the attempts that the transaction has begun, once they are known
    and before the commit, after which they are sent: by PostgreSQL's store while the server writes, by SQLite's once all is
    written.
    """

    results: Sequence[Result] = ()
    starts: Mapping[str, int] = MappingProxyType({})
    rows: Sequence[OutboxRow] = ()
    to_read: ReadPlan | None = None
    take_slot: Callable[[str, bool], bool] = lambda webhook, served: False
    max_deliveries: int = MAX_DELIVERIES
    in_flight: Mapping[str, int] = MappingProxyType({})
    concurrency: Mapping[str, int] = MappingProxyType({})
    per_webhook: int = 0
    places: Callable[[str, str], int] = lambda webhook, rate_limit: 0
    prepare: Callable[[Sequence[Claim]], object] = lambda claims: None


class WrittenBatch(NamedTuple):
    """What a transaction came to, and how the webhooks stand after it of which it may have changed what is due.

    `dropped` results were of attempts that are no longer in flight; `gone` are deliveries that ended as their events are gone
    from the database; `revision` is the number of changes to webhooks; `unopenable` has the webhooks that were disabled, as
    their secrets cannot be opened, and why.
    """

    dropped: int
    begun: list[Claim]
    gone: list[str]
    fan_out: FanOut | None
    touched: set[str]
    due: dict[str, Due]
    revision: int
    unopenable: Mapping[str, str] = MappingProxyType({})


class Resealed(NamedTuple):
    """What a step has sealed anew: how many webhooks it has looked at, the last one's id or None at the end, and problems.

    `problems` has the webhooks of which something cannot be opened, and why.
    """

    looked_at: int
    reached: str | None
    problems: Mapping[str, str]


class LastEnd(NamedTuple):
    """How a webhook's last attempt ended."""

    webhook_id: str
    timed_out: bool
    duration_ms: int


class Start(NamedTuple):
    """When attempts of a webhook began, as text, and how many did."""

    at: str
    attempts: int


class CountPlace(NamedTuple):
    """Where a count goes on: the webhooks that are left, and the delivery of the first of them that it has reached."""

    webhooks: tuple[str, ...]
    reached: str


class CountedPart(NamedTuple):
    """What a part of a count has found by webhook, how many deliveries it has looked at, and where it goes on; None: it is over."""

    counts: dict[str, int]
    looked_at: int
    place: CountPlace | None


class Moved(NamedTuple):
    """How many waits a step made shorter, and where the next one begins; None after the last."""

    shorter: int
    reached: Place | None
