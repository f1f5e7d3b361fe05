"""A connection to a database of ours in PostgreSQL, which runs the statements of `storage.sql`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from ..engine import Damaged, Lost, StorageError
from .arrays import NO_TEXT, literal
from .connection import APPLICATION, BRIEF, PLANS, WAIT, WRITTEN, Session, connect, transaction, within
from .daemons import keys_of_all
from .dialect import spell, spell_list, spell_rows
from .driver import Buffer, Dumper, Error, Loader, RawCursor, StrDumperUnknown
from .errors import NoTables, UnansweredCommit, engine_errors

READ = 60  # seconds that one read of people's may take, and that a transaction of theirs may rest
JOINED = 8  # tables of a read of people's that the planner puts in order, the server's default: views are joined to what is asked for
PREPARE = 2  # runs of a statement after which it is kept parsed and planned
RETRY = 0.5  # seconds between two attempts to connect
WRITERS = 1634495865  # the advisory lock of whoever writes, until the end of the transaction
ALONE = f"SELECT pg_advisory_xact_lock({WRITERS})"
_SHARED = f"SELECT pg_advisory_xact_lock_shared({WRITERS})"
_TIME = re.compile(rb"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d{1,3})\d*)?\+00")


_NOT_OURS = "{what}: its tables are missing, or are not those of this release. Restore them, or run `almirant-webhooks migrate`."


class NotOurTables(Damaged):
    """Tables of the database are gone or others."""

    why = "the tables of the database in PostgreSQL are not there, or are not those of this release"


class DatabaseSession(Session):
    """A session that reads and writes as SQLite's connections do: `storage.sql.session.Session`.

    Times are text, as the contract writes them. A statement outside of a transaction is one of its own.
    """

    # Batches of several daemons write at the same time: the largest number that each of them sees is not the last one.
    event_numbers = "SELECT json_group_array(json_array(nextval('event_numbers'))) FROM json_each(?2)"

    def __init__(self, place: Place, seals: Seals, application: str = APPLICATION) -> None:
        super().__init__(place, connect(place, application).conn)
        self._application = application
        self.seals = seals
        self._failed: tuple[float, StorageError] | None = None  # at which monotonic second no connection could be made
        self.lost_since: float | None = None  # since which none can be made
        self._adapt()

    def _adapt(self) -> None:
        # A pooler in transaction mode tells a process of its own making: statements that were prepared would be gone there.
        (served_by,) = self.conn.execute("SELECT pg_backend_pid()").fetchone() or (None,)
        if served_by == self.conn.info.backend_pid:
            self.conn.prepare_threshold = PREPARE
        self.conn.adapters.register_loader("timestamptz", _TimeLoader)
        self.conn.adapters.register_loader("numeric", _NumericLoader)
        for kind, dumper in ((str, _TextDumper), (int, _NumberDumper), (bool, _NumberDumper)):
            self.conn.adapters.register_dumper(kind, dumper)

    def revive(self) -> None:
        """Connect anew if the connection has ended, at most once a `RETRY`. Raises `StorageError`."""
        if not self.is_lost:
            return
        if self._failed is not None and time.monotonic() < self._failed[0] + RETRY:
            raise self._failed[1]
        try:
            self.conn = connect(self.place, self._application).conn
        except StorageError as error:
            self._failed = time.monotonic(), error
            if self.lost_since is None:
                self.lost_since = time.monotonic()
            raise
        self._failed = self.lost_since = None
        self._adapt()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors in a block into an engine's: tables of ours that are gone are beyond repair."""
        try:
            with super().errors():
                yield
        except NoTables as error:
            raise NotOurTables(str(error), _NOT_OURS) from error

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = (), /) -> RawCursor[Any]:
        """Run a statement."""
        statement = spell(sql)
        return self._run(statement.text, statement.values(parameters))

    def executemany(self, sql: str, parameters: Sequence[Sequence[object]], /) -> RawCursor[Any]:
        """Run a statement once for each row of values."""
        statement = spell(sql)
        with within(self):
            cursor = RawCursor(self.conn)
            cursor.executemany(statement.text.encode(), [statement.values(values) for values in parameters])
            return cursor

    def read_rows(self, select: str, /, *values: object) -> list[list[Any]]:
        """Return the rows of `SELECT json_group_array(json_array(…)) …`."""
        statement = spell_rows(select)
        return [list(row) for row in self._run_unnamed(statement.text, statement.values(values))]

    def read_together(self, selects: Sequence[str], /, *values: object) -> list[list[list[Any]]]:
        """Return the rows of several such SELECTs, one after the other.

        Writers have a lock, so they are of one state: but for what batches of other daemons write for their own projects.
        """
        statements = map(spell_rows, selects)
        with within(self), self.at_once():
            cursors = [self._run_unnamed(statement.text, statement.values(values)) for statement in statements]
            return [[list(row) for row in cursor] for cursor in cursors]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let what a block writes be answered at its end: the server runs a statement while the next one is put together.

        An error ends the connection: the server has not prepared what came behind it, and the driver takes it that it has.
        See https://www.postgresql.org/docs/current/libpq-pipeline-mode.html.
        """
        try:
            with self.conn.pipeline():
                yield
        except Error:
            self.close()
            raise

    def write_rows(self, statement: str, types: str, rows: Sequence[Sequence[object]], /) -> int:
        """Run a statement for all rows together; return how many rows it changed."""
        if not rows:
            return 0
        columns = zip(types.split(), zip(*rows, strict=True), strict=True)
        return self._run_unnamed(
            spell_list(statement, types), [literal(kind, column) for kind, column in columns]
        ).rowcount

    def vacuum_tables(self, *tables: str) -> bool:
        """Remove versions of rows that nobody sees any more; tell whether no table was left out. Raises `StorageError`."""
        with self.errors():
            self.revive()
            return self.vacuum(", ".join(f"{self.place.schema}.{table}" for table in tables))

    def _run(self, text: str, values: Sequence[object]) -> RawCursor[Any]:
        with within(self):
            cursor = RawCursor(self.conn, row_factory=_row_factory)
            cursor.execute(text.encode(), values)
            return cursor

    def _run_unnamed(self, text: str, values: Sequence[object]) -> RawCursor[tuple[Any, ...]]:
        with within(self):
            cursor = RawCursor(self.conn)
            cursor.execute(text.encode(), values)
            return cursor


@engine_errors()
def open_database(place: Place, seals: Seals, application: str = APPLICATION) -> DatabaseSession:
    """Open a database of ours; raises `StorageError`, and `Misconfigured` for a place that can never be right."""
    return DatabaseSession(place, seals, application)


@contextmanager
def writing(
    session: DatabaseSession, wait: float = WAIT, statement: float = BRIEF, *, alone: bool = True, fence: str = ""
) -> Iterator[DatabaseSession]:
    """Run a block as one write transaction. Raises `StorageError`.

    Whoever writes `alone` does so while nobody else writes. The others, which are the batches of daemons, write at the same time,
    each for projects that are its own, by a `fence` behind the lock. They seal nothing; who writes alone seals with a key that all daemons have read by then.

    It waits `wait` seconds for other writers at most, and a statement may take `statement` seconds. Raises `Unconfirmed` where
    the answer to its COMMIT is lost.
    """
    is_done = False
    try:
        with transaction(session, wait, statement, first=ALONE if alone else f"{_SHARED}; {fence}"):
            if alone:
                session.seals.seal_for(keys_of_all(session))
            yield session
            is_done = True
    except Lost as error:
        if is_done:
            raise UnansweredCommit(str(error)) from error
        raise


def begin_reading(session: DatabaseSession) -> None:
    """Let all that is read from now on be of one state of the database."""
    end_reading(session)  # an earlier user of the session may have been cancelled
    with session.errors():
        session.begin(
            f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = {session.place.schema}, pg_temp; "
            f"{WRITTEN}; {PLANS}; SET LOCAL join_collapse_limit = {JOINED}; "
            f"SET LOCAL statement_timeout = {READ * 1000}; SET LOCAL idle_in_transaction_session_timeout = {READ * 1000}"
        )
    session.in_transaction = True


def end_reading(session: DatabaseSession) -> None:
    """Let the next read be of what is committed then."""
    if session.in_transaction:
        session.in_transaction = False
        with suppress(Error):
            session.conn.execute("ROLLBACK")


class Row(tuple[Any, ...]):
    """A row, by place and by name."""

    names: tuple[str, ...] = ()

    def keys(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        return self.names

    def __getitem__(self, key: Any) -> Any:
        """Return a column."""
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)


def _row_factory(cursor: Any) -> type[Row]:
    return _row_of(tuple(column.name for column in cursor.description or ()))


@lru_cache(maxsize=512)
def _row_of(names: tuple[str, ...]) -> type[Row]:
    return type("Row", (Row,), {"names": names})


class _NumericLoader(Loader):
    """Numbers as SQLite gives them: a sum of whole ones is whole, which in PostgreSQL is `numeric`."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdecimal() else float(text)


class _TimeLoader(Loader):
    """Loads a time as text: UTC, with milliseconds."""

    def load(self, data: Buffer) -> str:
        match = _TIME.fullmatch(bytes(data))
        if match is None:  # written by hand: of another era, or infinite
            return bytes(data).decode()
        day, time, part = (group.decode() if group else "" for group in match.groups())
        return f"{day}T{time}.{part:0<3}Z"


class _TextDumper(StrDumperUnknown):
    """Writes a text. PostgreSQL has none with a NUL, which a search or a receiver's words may have."""

    def dump(self, obj: str) -> Buffer | None:
        return super().dump(obj.replace("\0", NO_TEXT))


class _NumberDumper(Dumper):
    """Writes a number, or a truth as one: PostgreSQL chooses the type by what it is used for."""

    oid = 0

    def dump(self, obj: int) -> bytes:
        return b"%d" % obj
