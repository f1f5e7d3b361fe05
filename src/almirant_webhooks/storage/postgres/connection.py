"""Opens connections to PostgreSQL, and runs transactions on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from ...model import Misconfigured
from ...rules.postgres_urls import Place, is_local
from .driver import Connection, Error, conninfo, psycopg
from .driver import errors as driver_errors
from .errors import ReadOnly, engine_errors

P = ParamSpec("P")
T = TypeVar("T")

APPLICATION = "almirant-webhooks"  # the name of our connections in the server's list
OLDEST = 140000
WAIT = 5.0  # seconds that a write of a person's waits for a lock
NO_WAIT = 0.01  # seconds instead of none: a new page of a table needs a lock for a moment too
STATEMENT = 10.0  # seconds that one statement may take
BRIEF = 4.0  # seconds that one may take of those for whom deliveries wait: less than they wait
# Statements are written for nested loops along indexes, as SQLite runs them; they never read a table as a whole. Tables that were
# just made or emptied have no statistics, by which the planner would choose that, or sort all that waits to find the first. Tables
# are joined in the order in which they are written: the planner would look at each webhook of a small table for each event. And
# each entry of an index that is read counts as much as a page: it would read an index from end to end, as it was short when the
# statement was prepared.
PLANS = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; "
    "SET LOCAL enable_sort = off; SET LOCAL join_collapse_limit = 1; SET LOCAL plan_cache_mode = force_generic_plan; "
    "SET LOCAL cpu_index_tuple_cost = 1; SET LOCAL max_parallel_workers_per_gather = 0"
)
# How values are written and read, whatever the server, the database or the role has as its own.
WRITTEN = (
    "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'; SET LOCAL array_nulls = on; "
    "SET LOCAL standard_conforming_strings = on"
)
# Limits of a role or database for what no transaction of ours sets: a VACUUM, and a session that rests. The last one is known since
# PostgreSQL 17. Not behind a pooler, which tells a process of its own making: the session is somebody else's next.
_UNLIMITED = """
SELECT set_config('statement_timeout', '0', false), set_config('idle_session_timeout', '0', false),
    CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL THEN set_config('transaction_timeout', '0', false) END
WHERE pg_backend_pid() = %s
"""
# libpq's own names: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 4000,
}


class Session:
    """A connection to the outbox's database. Outside of `transaction` each statement is a transaction of its own.

    What a transaction needs is set in it and not in the session, which a pooler may give to others after it.
    """

    def __init__(self, place: Place, conn: Connection[tuple[Any, ...]]) -> None:
        self.place = place
        self.conn = conn
        self._first: psycopg.Cursor[tuple[Any, ...]] | None = None  # the answers to what began the transaction
        self.in_transaction = False  # also once the connection was lost within one: nothing more may be run then

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return bool(self.conn.closed)

    def revive(self) -> None:
        """Do nothing: whoever has the session makes another one once this has ended."""

    def begin(self, statements: str) -> psycopg.Cursor[tuple[Any, ...]]:
        """Begin a transaction, on another connection if the one of before was lost while nobody used it."""
        self.revive()
        try:
            self._first = self.conn.execute(statements)
        except Error:
            if not self.is_lost:
                self.roll_back()
                raise
            self.revive()
            self._first = self.conn.execute(statements)
        return self._first

    def first_rows(self) -> list[tuple[Any, ...]]:
        """Return the rows of the last statement with which the transaction began."""
        while self._first is not None and self._first.nextset():
            pass
        return self._first.fetchall() if self._first is not None else []

    def commit(self) -> None:
        """Commit the transaction."""
        self.conn.execute("COMMIT")

    def roll_back(self) -> None:
        """Take the transaction back, unless the connection has ended and done so."""
        with suppress(Error):
            self.conn.execute("ROLLBACK")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors in a block into an engine's.

        A connection that is read-only is ended: it would stay so, whatever is changed on the server.
        """
        try:
            with engine_errors():
                yield
        except ReadOnly:
            self.close()
            raise

    def run(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows. Raises the driver's errors."""
        cursor = self.conn.execute(query, params or None)
        return cursor.fetchall() if cursor.description is not None else []

    def count(self, query: str, *params: object) -> int:
        """Run a statement that writes; return the number of its rows. Raises the driver's errors."""
        return self.conn.execute(query, params or None).rowcount

    def vacuum(self, names: str) -> bool:
        """Vacuum tables, outside of a transaction, where the role may; tell whether none was left out, as somebody has locked it.

        Raises the driver's errors.
        """
        skipped: list[str] = []

        def note(diagnostic: Any) -> None:
            if diagnostic.sqlstate == driver_errors.LockNotAvailable.sqlstate:
                skipped.append(diagnostic.message_primary)

        conn = self.conn
        conn.add_notice_handler(note)
        try:
            conn.execute(f"VACUUM (SKIP_LOCKED, TRUNCATE off) {names}")
        finally:
            conn.remove_notice_handler(note)
        return not skipped

    def close(self) -> None:
        """End the connection."""
        with suppress(Error):
            self.conn.close()


def connect(place: Place, application: str = APPLICATION) -> Session:
    """Connect, under a name unless the URL has one; raises `StorageError` while the server is away, and `Misconfigured` for a place that can never be right."""
    with engine_errors():
        given = conninfo.conninfo_to_dict(place.url.text)
        values: dict[str, Any] = {"application_name": application, **_DEFAULTS, **given, "client_encoding": "UTF8"}
        conn = psycopg.connect(conninfo.make_conninfo("", **values), autocommit=True, prepare_threshold=None)
    try:
        _check(place, conn, given)
        with engine_errors():
            conn.execute(_UNLIMITED, [conn.info.backend_pid])
    except BaseException:
        conn.close()
        raise
    return Session(place, conn)


def _check(place: Place, conn: Connection[tuple[Any, ...]], given: dict[str, Any]) -> None:
    """Look at what a service file or the environment may have chosen, and at what the server is."""
    chosen = {**conn.info.get_parameters(), **given}
    if not is_local(conn.info.host) and "sslmode" not in chosen:
        raise Misconfigured(
            f"{place}: the host {conn.info.host} is not local, and nobody has chosen an sslmode. Name one in the URL or "
            "in the service file, as in sslmode=verify-full."
        )
    if conn.info.server_version < OLDEST:
        raise Misconfigured(
            f"{place}: the server is PostgreSQL {conn.info.server_version // 10000}; {OLDEST // 10000} or newer is needed."
        )
    encoding = conn.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise Misconfigured(f"{place}: the database's encoding is {encoding}; the outbox needs one in UTF8.")


def _beginning(place: Place, wait: float, statement: float) -> str:
    """Return the statements that begin a transaction, with the limits that hold in it alone.

    What is read behind a lock is of the time behind it. A wait for a lock ends before the limit of its statement does: it is told as
    a lock.
    """
    limit = int(statement * 1000)
    wait = max(NO_WAIT, min(wait, 0.9 * statement))
    return (
        f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = {place.schema}, pg_temp; {WRITTEN}; "
        f"SET LOCAL lock_timeout = {int(wait * 1000)}; SET LOCAL statement_timeout = {limit}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {limit}; {PLANS}"
    )


def look(session: Session, query: str, wait: float = WAIT) -> Any:
    """Return the only value of a query, as a transaction of its own by one way to the server and back. Raises `StorageError`."""
    with session.errors():
        cursor = session.begin(f"{_beginning(session.place, wait, STATEMENT)}; {query}; COMMIT")
        while cursor.description is None and cursor.nextset():
            pass
        return next(cursor)[0]


@contextmanager
def transaction(
    session: Session, wait: float = WAIT, statement: float = STATEMENT, *, first: str = "SELECT"
) -> Iterator[Session]:
    """Run the block as one transaction: committed as a whole, or rolled back when it raises.

    It begins with the statement `first`, which is on the same way to the server. `wait` are the seconds for locks of others,
    `statement` those for each statement. An own process that stops within it (a debugger, a suspended machine) keeps no lock for
    longer than `statement` either. Raises `StorageError`.
    """
    with session.errors():
        session.begin(f"{_beginning(session.place, wait, statement)}; {first}")
        session.in_transaction = True
        try:
            yield session
            session.commit()
        except BaseException:
            session.roll_back()
            raise
        finally:
            session.in_transaction = False


@contextmanager
def within(session: Session, wait: float = WAIT) -> Iterator[Session]:
    """Run the block in the transaction that is open, or in one of its own. Raises `StorageError`."""
    if session.in_transaction:
        yield session
    else:
        with transaction(session, wait):
            yield session


def reads(function: Callable[Concatenate[Session, P], T]) -> Callable[Concatenate[Session, P], T]:
    """Give a function that reads a transaction of its own, unless there is one. Raises `StorageError`."""

    @functools.wraps(function)
    def wrapped(session: Session, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with within(session):
            return function(session, *args, **kwargs)

    return wrapped
