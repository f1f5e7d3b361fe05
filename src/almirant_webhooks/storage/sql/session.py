"""What the statements that every engine runs need of an engine's connection.

They are written once, in the words that SQLite and PostgreSQL both take. Where an engine wants another spelling its session
writes it: see `storage.postgres.dialect`. Functions that write are called inside a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ...ops.sealing import Seals

Values = Sequence[object] | Mapping[str, object]


class Row(Protocol):
    """A row, by place and by name."""

    def __getitem__(self, key: Any, /) -> Any:
        """Return a column."""

    def __iter__(self) -> Iterator[Any]:
        """Go through the columns."""

    def __len__(self) -> int:
        """Return the number of columns."""

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""


class Cursor(Protocol):
    """What a statement has come to."""

    @property
    def rowcount(self) -> int:
        """The number of rows that were changed."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Go through the rows."""


class Session(Protocol):
    """A connection, used by one thread. It knows the keys of what is sealed in its database."""

    seals: Seals
    event_numbers: str  # a SELECT for `read_rows` of as many numbers of new events as the JSON list `?2` has members

    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor:
        """Run a statement; its parameters are `?`, `?1` or `:name`."""

    def executemany(self, sql: str, parameters: Any, /) -> Cursor:
        """Run a statement once for each row of values."""

    def at_once(self) -> AbstractContextManager[object]:
        """Let what a block writes be answered at its end: it does not wait for one statement before it sends the next."""

    def read_rows(self, select: str, /, *values: object) -> list[list[Any]]:
        """Return the rows of `SELECT json_group_array(json_array(…)) …`, in any order."""

    def read_together(self, selects: Sequence[str], /, *values: object) -> list[list[list[Any]]]:
        """Return the rows of several such SELECTs, of one state of what only this session may write.

        Their parameters are numbered as those of one statement.
        """

    def write_rows(self, statement: str, types: str, rows: Sequence[Sequence[object]], /) -> int:
        """Run a statement for all rows together, which stand in it as `VALUES {rows}`; return how many rows it changed.

        That is not known `at_once`.

        `types` names those of the columns: `text`, `int`, `time` or `bytes`.
        """
