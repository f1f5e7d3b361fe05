"""Hears of commits by NOTIFY, on a connection of its own, and finds out whether it would."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from ...model import NO_THREAD, Refused
from ...rules.postgres_urls import Place
from .connection import Session, connect
from .driver import Error
from .errors import engine_errors, storage_error

RETRY = 1.0  # seconds between two attempts to connect
TEST_EVERY = 60.0  # seconds between two tests
TEST_WITHIN = 5.0  # seconds within which a test is heard
LOOK = 0.25  # seconds after which a stop is noticed
BY_POLLING = "commits are noticed by outbox.poll_interval alone: a NOTIFY does not arrive, as behind a pooler in transaction mode"

log = structlog.get_logger("almirant_webhooks")


class Listener:
    """A thread that calls `heard` once a producer has committed, and whenever one may have while nobody listened.

    A pooler in transaction mode takes a LISTEN and passes no NOTIFY on: a test by another connection tells.
    """

    def __init__(self, place: Place, heard: Callable[[], None]) -> None:
        self._place = place
        self._heard = heard
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="listen")
        self._is_deaf = False
        self.problem: str | None = None  # why commits are noticed late, or None

    def start(self) -> None:
        """Begin. Raises `Refused` if no thread can be started."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise Refused(NO_THREAD.format(error=error)) from None

    def stop(self) -> None:
        """Ask it to end; it does so within `LOOK`."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                session = connect(self._place)
                try:
                    self._listen(session)
                finally:
                    session.close()
            except Exception as error:  # the delivery loop meets the same, and says so
                self.problem = str(storage_error(error) if isinstance(error, Error) else error)
                log.debug("listening failed", error=self.problem)
            self._stopped.wait(RETRY)

    def _listen(self, session: Session) -> None:
        session.run(f'LISTEN "{channel(self._place)}"')
        self._heard()
        token, asked_at = "", -TEST_EVERY
        while not self._stopped.is_set():
            now = time.monotonic()
            if now >= asked_at + TEST_EVERY:
                token, asked_at = secrets.token_hex(8), now
                send_test(self._place, token)
            elif token and now >= asked_at + TEST_WITHIN:
                token = ""
                self._note(deaf=True)
            for notice in session.conn.notifies(timeout=LOOK):
                if notice.payload == "":
                    self._heard()
                elif notice.payload == token:
                    token = ""
                    self._note(deaf=False)
                if self._stopped.is_set():
                    break

    def _note(self, *, deaf: bool) -> None:
        self.problem = BY_POLLING if deaf else None
        if deaf != self._is_deaf:
            (log.warning if deaf else log.info)(BY_POLLING if deaf else "commits are noticed by NOTIFY again")
        self._is_deaf = deaf


@contextmanager
def hearing(place: Place, note_commit: Callable[[], None]) -> Iterator[asyncio.Event]:
    """Listen while the block runs, on an event loop; yields what is set once a producer has committed, or may have.

    `note_commit` is called then too, in the listener's thread.
    """
    loop, heard = asyncio.get_running_loop(), asyncio.Event()

    def hear() -> None:
        note_commit()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(heard.set)

    listener = Listener(place, hear)
    listener.start()
    try:
        yield heard
    finally:
        listener.stop()


def channel(place: Place) -> str:
    """Return the name by which an INSERT notifies."""
    return f"{place.schema}_outbox"


def send_test(place: Place, token: str) -> None:
    """Notify by a connection of its own, as a producer does."""
    session = connect(place)
    try:
        session.run("SELECT pg_notify(%s, %s)", channel(place), token)
    finally:
        session.close()


@engine_errors()
def is_heard(place: Place, within: float) -> bool:
    """Tell whether a NOTIFY arrives within so many seconds. Raises `StorageError`."""
    token = secrets.token_hex(8)
    session = connect(place)
    try:
        session.run(f'LISTEN "{channel(place)}"')
        send_test(place, token)
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            for notice in session.conn.notifies(timeout=left, stop_after=1):
                if notice.payload == token:
                    return True
        return False
    finally:
        session.close()
