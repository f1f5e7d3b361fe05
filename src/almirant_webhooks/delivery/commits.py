"""Looks for commits of other connections to the files. A write is noticed before its commit, so one look may come too early."""

from __future__ import annotations

from collections import deque

from ..storage.engine import DeliveryStore, Session
from .outbox_reader import OutboxReader
from .pace import Pace

LOOK_WAIT = 0.0003  # seconds between two looks for a commit whose write was noticed
MOST_ASKED = 8  # looks that wait, at most
LOOKS_LAST = 0.002  # seconds after that write; whoever has noticed it asks for later looks


class Commits:
    """What others' commits are known by, and until when one is expected. Times are monotonic seconds; delivery thread alone."""

    def __init__(self, store: DeliveryStore, reader: OutboxReader, pace: Pace) -> None:
        self._store = store
        self._reader = reader
        self._pace = pace
        self._version: int | None = None
        self._expected_until = 0.0
        self._looked_at = 0.0
        self._asked: deque[bool] = deque()  # by the event loop

    def ask(self, first: bool) -> bool:
        """Ask for a look, the `first` after a write or a later one; return whether to wake the thread. Call it on the event loop."""
        if len(self._asked) > (MOST_ASKED if first else 1):  # what waits does for this one too
            return False
        self._asked.append(first)
        return True

    def step(self, conn: Session, at: float) -> bool:
        """Look if somebody has asked for it or a commit is expected; return whether there was one to the database."""
        asked = [self._asked.popleft() for _ in range(len(self._asked))]
        return self.look(conn, at, first=any(asked)) if asked else self.look_again(conn, at)

    def look(self, conn: Session, at: float, *, first: bool = True) -> bool:
        """Look after a write was noticed; return whether another connection has committed to the database."""
        changed, news = self._look(conn, at)
        # A server tells of commits, and of the writes here some are our own.
        if first and not news and not self._store.lock_is_fair and self._pace.ended_at < self._looked_at:
            self._expected_until = at + LOOKS_LAST
        self._looked_at = at
        return changed

    def look_again(self, conn: Session, at: float) -> bool:
        """Look if a commit is expected; return whether there was one to the database."""
        return at < self._expected_until and self._look(conn, at, again=True)[0]

    def pass_by(self, conn: Session, at: float) -> None:
        """Take note of what a batch that reads the outbox sees in its transaction: it is no news after it."""
        if self._store.lock_is_fair or not self._reader.is_in_database:
            return
        before, self._version = self._version, self._store.changes(conn)
        if before is not None and before != self._version:
            self._pace.note_look(at, changed=True)

    def next_look(self, at: float) -> float | None:
        """Return the seconds until the next look, or None if no commit is expected."""
        return LOOK_WAIT if at < self._expected_until else None

    def _look(self, conn: Session, at: float, *, again: bool = False) -> tuple[bool, bool]:
        before, self._version = self._version, self._store.changes(conn)
        changed = before != self._version
        news = self._reader.check_for_commits(changed=changed) or changed
        if news:
            self._expected_until = 0.0
        if before is not None and (changed or not again):
            self._pace.note_look(at, changed=changed)
        return changed, news
