"""Log lines: named events with fields, as JSON or for a console, with journald's priorities under systemd."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO

import structlog

# sd-daemon(3): a line that begins with <N> has syslog's priority N.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2, "exception": 3}


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Configure structlog for this process; `auto` is `console` on a terminal and `json` elsewhere."""
    out = stream or sys.stderr
    if style == "auto":
        style = "console" if out.isatty() else "json"
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "console":
        # Its own choice, where rich is installed, prints the values of variables: tokens and secrets.
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    if goes_to_journal(out):
        processors.append(_with_priority)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )


def goes_to_journal(out: TextIO) -> bool:
    """Tell whether the stream is the one that systemd connected to the journal (`$JOURNAL_STREAM`, systemd.exec(5))."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        there = os.fstat(out.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{there.st_dev}:{there.st_ino}"


def _with_priority(_: Any, method: str, line: str | bytes) -> str:
    text = line.decode() if isinstance(line, bytes) else line
    prefix = f"<{_PRIORITIES.get(method, 6)}>"
    # Not splitlines(): journald ends a line at LF alone, and JSON may hold U+2028.
    return "\n".join(prefix + part for part in text.split("\n"))
