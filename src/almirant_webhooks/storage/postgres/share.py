"""What a daemon owns of the projects: it takes and gives them by their buckets, in order. In the delivery thread alone.

Whoever takes a bucket records the attempts that are open in it as interrupted, in the transaction that takes it. Whoever gives one
begins nothing more in it, and sets it free once nothing is in flight there: nothing is sent twice for a daemon that joins or leaves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

import structlog

from ...rules.buckets import ALL, bucket_of
from ...rules.retry import Schedule
from ..engine import StorageError
from ..sql.results import interrupt_open
from .connection import transaction
from .database_session import DatabaseSession, writing
from .lease import Lease, Superseded

RETRY = 0.2  # seconds between two looks whether what is to be given is free of attempts
_OWNED = """
SELECT b.changes, ARRAY(SELECT number FROM buckets WHERE daemon_id = b.daemon_id)
FROM daemon_batches b WHERE b.daemon_id = %s
"""
# As many as `delivery.concurrency` of each daemon at most.
_IN_FLIGHT = """
SELECT DISTINCT d.webhook_id, w.project_id FROM deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE d.in_flight = 1
"""
_GIVE = "UPDATE buckets SET daemon_id = NULL, since = NULL WHERE number = ANY(%s) AND daemon_id = %s"
_TAKE = """
UPDATE buckets SET daemon_id = %s, since = clock_timestamp() WHERE number = ANY(%s) AND daemon_id IS NULL RETURNING number
"""
_HAS = "SELECT FROM buckets WHERE number = %s AND daemon_id = %s"
_HOLDS = """
SELECT number, extract(epoch FROM ordered_from - clock_timestamp()) FROM buckets
WHERE daemon_id = %s AND ordered_from > clock_timestamp()
"""
_ORDERED = """
SELECT max(id), array_agg(ARRAY[id, project_id]) FILTER (
    WHERE ordered = 1 AND deleted_at IS NULL AND outbox_bucket(project_id) = ANY(%s))
FROM (SELECT id, project_id, ordered, deleted_at FROM webhooks WHERE id > %s ORDER BY id LIMIT %s) w
"""
STEP = 10_000  # webhooks that one statement looks at

log = structlog.get_logger("almirant_webhooks")


class ShareChanged(StorageError):
    """What this daemon owns is not what it takes for its own."""

    why = "what this daemon owns has changed"


class Share:
    """The buckets of a daemon by its `lease`; without one it owns all of them."""

    def __init__(self, lease: Lease | None = None) -> None:
        self._lease = lease
        self._owned = ALL if lease is None else frozenset[int]()
        self._changes = 0
        self._is_sure = True  # what is owned is known: no COMMIT was without an answer
        self._has_news = False
        self._held: dict[str, float] = {}
        self._tried_at = 0.0  # of the clock of the lease
        self.active = self._owned  # those owned that are not to be given

    def owns(self, project_id: str) -> bool:
        """Tell whether this daemon may begin anything for a project."""
        return bucket_of(project_id) in self.active

    @property
    def fence(self) -> str:
        """The statement with which a transaction that delivers begins behind its lock, or none; `fenced` reads its answer."""
        return "" if self._lease is None else self._lease.fence

    def fenced(self, session: DatabaseSession) -> int | None:
        """Return the number of a transaction that delivers, which has begun with `fence`.

        Raises `Superseded` if this daemon was taken for gone, and `ShareChanged` if it does not own what it took for its own.
        """
        if self._lease is None:
            return None
        number, changes = self._lease.fenced(session)
        if changes != self._changes:
            self._is_sure = False
            raise ShareChanged("it is read again")
        return number

    def check(self, session: DatabaseSession) -> None:
        """Raise `Superseded` inside another transaction of a daemon that was taken for gone."""
        if self._lease is not None:
            self._lease.check(session)

    def has(self, session: DatabaseSession, bucket: int) -> bool:
        """Tell whether this daemon owns a bucket, inside a transaction; from whichever thread."""
        return self._lease is None or (bucket in self.active and bool(session.run(_HAS, bucket, self._lease.id)))

    def settle(self, session: DatabaseSession, schedule: Schedule, now: datetime) -> Mapping[str, float] | None:
        """Take and give what the lease wishes, in a transaction of its own; return what waits, None if nothing has changed."""
        lease = self._lease
        if lease is None:
            return None
        lease.join()
        take, give = lease.wishes
        self._set(self._owned, give)
        is_due = lease.seconds() >= self._tried_at + RETRY
        if not self._is_sure or take - self._owned or (give & self._owned and is_due):
            self._tried_at = lease.seconds()
            self._is_sure = False
            self._write(session, lease, take, give, schedule, now)
        if not self._has_news:
            return None
        self._has_news = False
        return self._held

    def _write(
        self,
        session: DatabaseSession,
        lease: Lease,
        take: frozenset[int],
        give: frozenset[int],
        schedule: Schedule,
        now: datetime,
    ) -> None:
        with writing(session):
            in_flight = [(webhook, bucket_of(project)) for webhook, project in session.run(_IN_FLIGHT)]
            session.run(_GIVE, list(give - {bucket for _, bucket in in_flight}), lease.id)
            taken = {bucket for (bucket,) in session.run(_TAKE, lease.id, list(take))}
            left = [webhook for webhook, bucket in in_flight if bucket in taken]
            interrupted = interrupt_open(session, schedule, now, left) if left else 0
            rows = session.run(_OWNED, lease.id)
            if not rows:
                raise Superseded
        self._held = _held(session, lease)  # others write meanwhile, and nothing begins here
        self._changes, owned = int(rows[0][0]), frozenset(rows[0][1])
        self._is_sure = True
        gained, given = len(owned - self._owned), len(self._owned - owned)
        self._has_news |= bool(taken or gained)
        self._set(owned, give)
        if gained or given:
            log.info("projects shared", buckets=len(owned), gained=gained, given=given, interrupted=interrupted)

    def _set(self, owned: frozenset[int], give: frozenset[int]) -> None:
        active = owned - give
        self._has_news |= active != self.active
        self._owned, self.active = owned, active


def _held(session: DatabaseSession, lease: Lease) -> dict[str, float]:
    """Return until when, in monotonic seconds, ordered webhooks wait whose daemon is gone: it may be sending still."""
    with transaction(session):
        holds = session.run(_HOLDS, lease.id)
    now = time.monotonic()
    until = {bucket: now + float(wait) for bucket, wait in holds}
    held: dict[str, float] = {}
    last: str | None = "" if until else None
    while last is not None:
        with transaction(session):
            ((last, webhooks),) = session.run(_ORDERED, list(until), last, STEP)
        held |= {webhook: until[bucket_of(project)] for webhook, project in webhooks or ()}
    return held
