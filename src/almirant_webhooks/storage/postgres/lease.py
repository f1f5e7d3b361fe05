"""A daemon among those on a database: it says every second that it is alive, and finds out what it is to take and to give.

Who gives no sign for the time of a lease is gone: its projects become free for the others. That time is what another daemon has
watched, so a clock that is set and a server that stands still make nobody gone. What it writes after that is refused (`fence`),
so a daemon that was paused for longer changes nothing when it wakes up.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog

from ...model import NO_THREAD, Misconfigured, Refused
from ...ops.sealing import Seals
from ...rules.buckets import allocate
from ...rules.postgres_urls import Place
from ..engine import StorageError
from .connection import APPLICATION, Session, connect, transaction
from .daemons import LEASE
from .database_session import ALONE, DatabaseSession

BEAT = 1.0  # seconds between two signs of life
_JOIN = """
WITH joined AS (
    INSERT INTO daemons (id, name, request_seconds, key_ids) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO NOTHING RETURNING id)
INSERT INTO daemon_batches (daemon_id) SELECT id FROM joined
"""
_BEAT = "UPDATE daemons SET seen_at = clock_timestamp(), is_leaving = %s, key_ids = %s WHERE id = %s RETURNING id"
_MEMBERS = "SELECT id FROM daemons WHERE NOT is_leaving"
_OWNERS = "SELECT number, daemon_id FROM buckets"
_SIGNS = "SELECT id, extract(epoch FROM seen_at)::text FROM daemons WHERE id <> %s"
_STILL = """
SELECT d.id FROM daemons d JOIN unnest(%s::text[], %s::text[]) v (id, sign)
ON v.id = d.id AND v.sign = extract(epoch FROM d.seen_at)::text FOR UPDATE OF d
"""
# A connection of a frozen process may hold the lock of whoever writes. A copy of another database has the names of its daemons.
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = ANY(%s)
"""
_FREE = """
UPDATE buckets b SET daemon_id = NULL, ordered_from = greatest(b.ordered_from,
    clock_timestamp() + make_interval(secs => %s + d.request_seconds))
FROM daemons d WHERE d.id = b.daemon_id AND d.id = ANY(%s)
"""
_END = "DELETE FROM daemons WHERE id = ANY(%s) RETURNING name"
_IS_MEMBER = "SELECT FROM daemons WHERE id = %s"
_FENCE = "UPDATE daemon_batches SET batch = batch + 1 WHERE daemon_id = '{}' RETURNING batch, changes"
_LEAVE = "DELETE FROM daemons WHERE id = %s"

MARGIN = 1.0  # seconds of its lease that a daemon needs for what it begins
SILENT = "no sign of life can be given in PostgreSQL, so that other daemons may send in place of this one"
MISCONFIGURED = "the connection is refused as configured"  # its error names the URL: not for /readyz
# Goes on while the machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

log = structlog.get_logger("almirant_webhooks")


def _seconds() -> float:
    return time.clock_gettime(_CLOCK)


class Superseded(Refused):
    """This daemon was taken for gone: it has to end, and may start again."""

    def __init__(self) -> None:
        super().__init__(
            "Other daemons have taken this one for gone, as it gave no sign of life for some seconds. What it had in flight is "
            "recorded as interrupted, and they deliver in its place. Start it again: it gets its share then."
        )


class Wishes(NamedTuple):
    """The buckets that a daemon is to take, and those that it is to give."""

    take: frozenset[int] = frozenset()
    give: frozenset[int] = frozenset()


class Signs:
    """The others' signs of life, and for how long one has watched each of them stay the same."""

    def __init__(self) -> None:
        self._watched: dict[str, tuple[str, float]] = {}
        self._looked_at = 0.0  # of the clock that `look` is given

    def look(self, signs: Mapping[str, str], now: float) -> dict[str, str]:
        """Take note of the signs as they were before `now`; return those that have stayed the same for a lease.

        Of a longer time between two looks two beats count: nobody knows who could give a sign meanwhile.
        """
        since, self._looked_at = min(now - self._looked_at, 2 * BEAT), now
        before, self._watched = self._watched, {}
        for daemon, sign in signs.items():
            last, seconds = before.get(daemon, ("", 0.0))
            self._watched[daemon] = (sign, seconds + since if sign == last else 0.0)
        return {daemon: sign for daemon, (sign, seconds) in self._watched.items() if seconds >= LEASE}


class Lease:
    """A daemon's place among the others, kept by a thread of its own with a connection of its own.

    `request_seconds` is how long one of its requests may take. Without a `name` it has that of the host, with its process.
    `seconds` is a clock that nobody sets. Others tell that thread what they want (`join`, `leave`, `close`) and read what it found:
    each field is written by one thread.
    """

    def __init__(
        self,
        place: Place,
        request_seconds: float,
        name: str = "",
        seals: Seals | None = None,
        *,
        seconds: Callable[[], float] = _seconds,
    ) -> None:
        self.seconds = seconds
        self._place = place
        self._seals = seals
        self._request_seconds = request_seconds
        self.id = f"dmn_{secrets.token_hex(8)}"
        self.name = name or f"{socket.gethostname()}, process {os.getpid()}"
        self.wishes = Wishes()
        self._wake_up: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, daemon=True, name="lease")
        self._is_wanted = self._is_member = self._is_leaving = self._is_lost = False
        self._ended, self._changed = False, threading.Event()
        self._session: Session | None = None
        self._signs = Signs()
        self._alive_until = 0.0  # of `seconds`
        self._deliveries: DatabaseSession | None = None
        self._problem: str | None = None  # why the last sign could not be given

    def deliver_by(self, session: DatabaseSession) -> None:
        """Give signs of life only while deliveries have a connection: without one, others are to deliver in its place."""
        self._deliveries = session

    @property
    def _is_cut_off(self) -> bool:
        since = self._deliveries.lost_since if self._deliveries is not None else None
        return since is not None and time.monotonic() >= since + LEASE

    @property
    def application(self) -> str:
        """The name of this daemon's connections in the server's list."""
        return _application(self.id)

    def start(self, wake_up: Callable[[], None]) -> None:
        """Start the thread; `wake_up` is called there once there is something to take or to give.

        Raises `Refused` if no thread can be started.
        """
        self._wake_up = wake_up
        try:
            self._thread.start()
        except RuntimeError as error:
            raise Refused(NO_THREAD.format(error=error)) from None

    def join(self) -> None:
        """Be one of the daemons from now on; the delivery thread says so."""
        if not self._is_wanted:
            self._is_wanted = True
            self._changed.set()

    def leave(self) -> None:
        """Take nothing more, and give all that is owned; the delivery thread says so."""
        self._is_leaving = True
        self._changed.set()

    def close(self, within: float = 2.0) -> None:
        """End: what is still owned is free at once."""
        self._ended = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(within)

    @property
    def fence(self) -> str:
        """The statement behind the lock with which a transaction that delivers begins; `fenced` reads its answer."""
        return _FENCE.format(self.id)

    def fenced(self, session: DatabaseSession) -> tuple[int, int]:
        """Return the number of a transaction that has begun with `fence`, and how often what this daemon owns has changed.

        Raises `Superseded` if it was taken for gone.
        """
        rows = session.first_rows()
        if not rows:
            raise Superseded
        return int(rows[0][0]), int(rows[0][1])

    def check(self, session: DatabaseSession) -> None:
        """Raise `Superseded` inside another transaction of a daemon that was taken for gone."""
        if self._is_member and not session.run(_IS_MEMBER, self.id):
            raise Superseded

    @property
    def is_lost(self) -> bool:
        """Whether it was taken for gone, as far as this daemon has noticed."""
        return self._is_lost

    def is_alive(self) -> bool:
        """Tell whether nobody can have taken it for gone, by a clock that nobody sets; from any thread."""
        return self.seconds() < self._alive_until

    def why_not_begin(self) -> str | None:
        """Return why nothing may begin, or None: somebody may take it for gone before it is sent, or it cannot join the others."""
        if self._is_member and self.seconds() < self._alive_until - MARGIN:
            return None
        if problem := self._problem:
            return f"{SILENT} ({problem})"
        return SILENT if self._is_member else None

    def _run(self) -> None:
        while not (self._ended or self._is_lost):
            begun = self.seconds()
            self._changed.clear()
            try:
                self.step()
                self._problem = None
            except (StorageError, Misconfigured) as error:
                (log.debug if self._problem else log.warning)("no sign of life could be given", error=str(error))
                self._problem = error.why if isinstance(error, StorageError) else MISCONFIGURED
            self._changed.wait(max(0.0, begun + BEAT - self.seconds()))
        self.end()

    def step(self) -> None:
        """Give a sign of life, free what those who are gone had, and find out what to take and to give.

        The thread does so every second. Raises `StorageError` and `Misconfigured`.
        """
        begun = self.seconds()
        if self._session is None or self._session.is_lost:
            self._session, self._signs = connect(self._place, self.application), Signs()
        if self._is_wanted and not self._is_cut_off:
            self._give_sign(self._session, begun)

    def end(self) -> None:
        """Be none of the daemons any more: the thread does so at its end."""
        if self._session is not None:
            with suppress(StorageError), transaction(self._session, first=ALONE):
                self._session.run(_LEAVE, self.id)
            self._session.close()

    def _give_sign(self, session: Session, begun: float) -> None:
        key_ids = " ".join(self._seals.ids()) if self._seals is not None else None
        with transaction(session):
            if not session.run(_BEAT, self._is_leaving, key_ids, self.id):  # it is new, or was taken for gone
                if self._is_member:
                    self._is_lost = True  # the next look or transaction says so, and ends the daemon
                    return
                session.run(_JOIN, self.id, self.name, self._request_seconds, key_ids)
            signs = dict(session.run(_SIGNS, self.id))
            members = [row[0] for row in session.run(_MEMBERS)]
            owners = dict(session.run(_OWNERS))
        self._is_member, self._alive_until = True, begun + LEASE
        if gone := self._signs.look(signs, self.seconds()):
            self._end_gone(session, gone)
            self._changed.set()  # look again at once
        self._wish(members, owners)

    def _end_gone(self, session: Session, gone: Mapping[str, str]) -> None:
        with suppress(StorageError), transaction(session, BEAT):
            session.run(_END_SESSIONS, [_application(daemon) for daemon in gone])
        with transaction(session, BEAT, first=ALONE):  # whoever waits for longer gives no sign itself
            still = [row[0] for row in session.run(_STILL, list(gone), list(gone.values()))]
            freed = session.count(_FREE, LEASE, still)
            names = [row[0] for row in session.run(_END, still)]
        if names:
            log.warning("a daemon is gone", daemons=names, buckets=freed)

    def _wish(self, members: Collection[str], owners: dict[int, str | None]) -> None:
        wanted = {bucket for bucket, daemon in allocate(members).items() if daemon == self.id}
        owned = {bucket for bucket, daemon in owners.items() if daemon == self.id}
        take = {bucket for bucket in wanted if owners.get(bucket, "") is None}
        self.wishes = Wishes(frozenset(take), frozenset(owned - wanted))
        if self.wishes != Wishes():
            self._wake_up()


def _application(daemon: str) -> str:
    return f"{APPLICATION} {daemon}"
