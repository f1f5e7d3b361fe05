"""Standard input, output and error: what is closed gets a place of its own, and what fails is named in the error."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def prepare() -> None:
    """Make the three streams usable, whatever the caller closed; call it before any other file is opened.

    What is written to a closed stream is dropped, and reading from one is an error. Left closed, its number would go
    to the next file that is opened, and libuv aborts the process when it closes that one.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_WRONLY), True)
    sys.stdin = _named(sys.stdin, 0, "standard input")
    sys.stdout = _named(sys.stdout, 1, "standard output")
    sys.stderr = _named(sys.stderr, 2, "standard error")


def drop_unwritten() -> None:
    """Drop what could not be written, or the interpreter tries once more at its end and complains."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)


class _Stream(io.FileIO):
    """A standard stream whose errors name it, as those of other files do."""

    def __init__(self, number: int, mode: str, title: str) -> None:
        super().__init__(number, mode, closefd=False)
        self._title = title

    def write(self, data: Any, /) -> int:
        with self._naming():
            return super().write(data)

    def readinto(self, buffer: Any, /) -> int:
        with self._naming():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with self._naming():
            return super().readall()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self._title
            if error.errno == errno.EBADF:
                error.strerror = "it is closed"
            raise


def _named(stream: Any, number: int, title: str) -> Any:
    """Return a stream that names itself in the place of the interpreter's own; one of somebody else's is left alone."""
    buffer = getattr(stream, "buffer", None)
    unbuffered = type(buffer) is io.FileIO  # python -u, $PYTHONUNBUFFERED
    if stream is not None and not unbuffered and type(getattr(buffer, "raw", None)) is not io.FileIO:
        return stream
    raw: Any = _Stream(number, "r" if number == 0 else "w", title)
    if not unbuffered:
        raw = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        raw,
        encoding=getattr(stream, "encoding", "utf-8"),
        errors=getattr(stream, "errors", "backslashreplace"),
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=unbuffered,
    )
