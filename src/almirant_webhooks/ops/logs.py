"""Log lines: named events with fields, as JSON or for a console, with journald's priorities under systemd.

Logging never waits and never raises: after `in_background` one thread writes everything to standard error.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import sys
import threading
from collections import deque
from io import TextIOBase
from typing import Any, TextIO

import structlog

from ..model import NO_THREAD, Refused

# sd-daemon(3): a line that begins with <N> has syslog's priority N.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}
MOST_WAITING = 4 * 1024 * 1024  # bytes of lines that wait to be written; further ones are lost
AT_ONCE = 64 * 1024  # bytes in one write
LAST_LINES = 0.25  # seconds that the process waits for the last lines when it ends

log = structlog.get_logger("almirant_webhooks")


class Losses:
    """Counts lost lines, in all and since the last report."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.total = 0
        self._unsaid = 0

    def add(self, lines: int) -> None:
        """Count lost lines; from any thread."""
        with self._lock:
            self.total += lines
            self._unsaid += lines

    def take(self) -> int:
        """Return how many lines were lost since the last call."""
        with self._lock:
            unsaid, self._unsaid = self._unsaid, 0
            return unsaid


losses = Losses()


class Background(TextIOBase):
    """A text stream that a thread writes to a file descriptor, so that writing to it never waits and never fails.

    `losses` counts the lines that cannot be written, and those beyond `MOST_WAITING`. Once writing works again, the log says
    how many were lost.
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8") -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._waiting: deque[bytes] = deque()
        self._bytes = 0  # of what waits
        self._under_way = 0  # of what is being written
        self._is_cut = False  # the last line was written in part
        self._works = True
        # Reentrant, as the garbage collector may log from within `write`.
        self._changed = threading.Condition(threading.RLock())
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute of the base class
        """The encoding of the text; characters that it lacks are written as escapes."""
        return self._encoding

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Add text to write; from any thread."""
        data = text.encode(self._encoding, "backslashreplace")
        with self._changed:
            says_losses = threading.get_ident() == self._thread.ident
            if self._bytes + len(data) > MOST_WAITING and not says_losses:
                losses.add(data.count(b"\n"))
            else:
                self._waiting.append(data)
                self._bytes += len(data)
                self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes as soon as it can."""

    def drain(self, within: float) -> bool:
        """Wait up to `within` seconds until all lines are written or lost; return whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._bytes or self._under_way), within)

    def _run(self) -> None:
        while True:
            try:
                self._write(self._next())
            except Exception:  # no memory, say: the thread has to go on
                losses.add(1)
            with self._changed:
                self._under_way = 0
                self._changed.notify_all()
            if self._works and (unsaid := losses.take()):
                log.warning("log lines were lost", lines=unsaid)

    def _next(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            parts = []
            while self._waiting and self._under_way < AT_ONCE:
                parts.append(self._waiting.popleft())
                self._under_way += len(parts[-1])
            self._bytes -= self._under_way
        return b"".join(parts)

    def _write(self, data: bytes) -> None:
        """Write bytes, and count the lines that could not be written."""
        within_line, self._works = False, False
        try:
            if self._is_cut:
                self._is_cut = not os.write(self._descriptor, b"\n")
            while data:
                try:
                    written_bytes = os.write(self._descriptor, data)
                except BlockingIOError:  # another process has made the descriptor non-blocking
                    room = select.poll()
                    room.register(self._descriptor, select.POLLOUT)
                    room.poll()
                    continue
                within_line = data[written_bytes - 1 : written_bytes] != b"\n"
                data = data[written_bytes:]
            self._works = True
        except OSError:
            self._is_cut = self._is_cut or within_line
            losses.add(data.count(b"\n"))


def drain() -> None:
    """Wait a moment until all lines are written. Call it last, before the process ends."""
    if isinstance(sys.stderr, Background):
        sys.stderr.drain(LAST_LINES)


def in_background() -> None:
    """Replace standard error by a `Background` stream for the rest of this process.

    Messages of Python itself and of libraries go the same way. Raises `Refused` if no thread can be started.
    """
    before: TextIO | None = sys.stderr  # None where it was closed at the start
    try:
        sys.stderr = Background(2, "utf-8" if before is None else before.encoding)
    except RuntimeError as error:
        raise Refused(NO_THREAD.format(error=error)) from None
    atexit.register(drain)
    logging.getLogger().addHandler(_Library())


class _Library(logging.Handler):
    """Turns records of Python's own logging, which libraries use, into lines of our log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            say = log.error if record.levelno >= logging.ERROR else log.warning
            say("a library says", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)
        except Exception:  # arguments that do not fit their text
            losses.add(1)


class _Line:
    """The logger to which structlog passes finished lines."""

    def __init__(self, out: TextIO | Background) -> None:
        self._out = out

    def msg(self, line: str) -> None:
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except Exception:  # full, closed, not able to encode it, no memory
            losses.add(1)

    debug = info = warning = error = critical = exception = msg


def configure(level: str, style: str, stream: TextIO | Background | None = None) -> None:
    """Configure structlog for this process; `auto` is `console` on a terminal and `json` elsewhere."""
    out: TextIO | Background = stream or sys.stderr
    if style == "auto":
        style = "console" if out.isatty() else "json"
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "console":
        # With rich installed, structlog's default traceback prints the values of variables: tokens and secrets.
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    structlog.configure(
        processors=[_rendered_by(processors), *([_with_priority] if goes_to_journal(out) else [])],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: _Line(out),
        cache_logger_on_first_use=False,
    )


def _rendered_by(processors: list[Any]) -> Any:
    """Return a processor that runs the others; if a field cannot be written, the line goes without fields."""

    def render(logger: Any, method: str, fields: Any) -> Any:
        name = fields.get("event")
        try:
            for process in processors:
                fields = process(logger, method, fields)
        except Exception as error:
            return json.dumps({"event": str(name), "level": method, "unwritable_fields": type(error).__name__})
        return fields

    return render


def goes_to_journal(out: TextIO | Background) -> bool:
    """Return whether the stream goes to the journal (`$JOURNAL_STREAM`, systemd.exec(5))."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def _with_priority(_: Any, method: str, line: Any) -> str:
    text = line.decode() if isinstance(line, bytes) else line
    prefix = f"<{_PRIORITIES.get(method, 6)}>"
    # Not splitlines(): journald ends a line at LF alone, and JSON may hold U+2028.
    return "\n".join(prefix + part for part in text.split("\n"))
