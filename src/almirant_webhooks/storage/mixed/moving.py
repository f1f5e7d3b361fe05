"""Moves a database from a file into an empty schema of PostgreSQL (contract, section 6: `migrate --from FILE`).

Each table is copied in the order of its key, in steps that are transactions, so that a move which was cut short goes on where
it was. At the end every row of both is read and compared. No daemon may run on either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ...model import Misconfigured, Refused
from ...ops.sealing import Seals
from ...rules.postgres_urls import Place
from ..engine import StorageError
from ..postgres import database_tables, moves
from ..postgres.database_session import DatabaseSession, open_database, writing
from ..sql.sealed import NEXT_SECRET, SECRET, open_headers, seal_headers
from ..sqlite import errors, lock, outbox
from ..sqlite.connection import Connection, open_reader

LONG = 3600.0  # seconds that one statement may take
STEP = 5000  # rows of a transaction
STEP_BYTES = 4 * 1024 * 1024  # of them, after which a transaction takes no further row
# Each table with its key, by which it is read and gone on with.
TABLES: dict[str, tuple[str, ...]] = {
    "webhooks": ("id",),
    "subscriptions": ("webhook_id", "pattern"),
    "events": ("seq",),
    "deliveries": ("rowid",),
    "rendered_bodies": ("delivery_id",),
    "attempts": ("rowid",),
    "filtered_out": ("event_seq", "webhook_id"),
    "webhook_hours": ("webhook_id", "hour"),
    "webhook_failures": ("webhook_id", "hour", "status"),
    "resends": ("id",),
    "resend_webhooks": ("resend_id", "webhook_id"),
    "audit": ("seq",),
    "producer_tokens": ("id",),
    "project_tokens": ("id",),
}
# What is not copied: sessions and links end with the token that is made anew, keys of requests live for a day.
LEFT = {"database_meta", "outbox", "outbox_meta", "sessions", "used_links", "request_keys"}
_WAITING = """
SELECT event_id, project_id, event_type, CAST(payload AS BLOB), occurred_at FROM outbox
WHERE fanned_out_at IS NULL AND rejected_reason IS NULL ORDER BY id
"""
_REJECTED = """
SELECT CAST(event_id AS BLOB), CAST(project_id AS BLOB), CAST(event_type AS BLOB), CAST(payload AS BLOB), CAST(occurred_at AS BLOB),
    CAST(rejected_reason AS BLOB)
FROM outbox WHERE rejected_reason IS NOT NULL ORDER BY id
"""
Row = tuple[Any, ...]
Progress = Callable[[str, int, int], None]


def move(
    path: Path,
    place: Place,
    old: Seals,
    new: Seals,
    progress: Progress,
    say: Callable[[str], None],
    *,
    is_outbox_apart: bool = False,
) -> None:
    """Copy the database in a file into a place; `say` is called with what was done, a sentence each, as it is done.

    What is secret is opened with the `old` keys and sealed with the `new` ones. `progress` is called with the name of a table, how
    many of its rows are there and how many it has. Raises `Refused` and `Misconfigured`, and goes on when it is called again.
    With `is_outbox_apart` nobody will read an outbox in the place: rows that wait in the file's are refused.
    """
    try:
        with lock.hold(path), errors.session(open_reader(path, old)) as source:
            if is_outbox_apart:
                _check_nothing_waits(path, source)
            try:
                for line in database_tables.migrate_database(place, new):  # the token is shown this once
                    say(line)
                with closing(open_database(place, new)) as database:
                    for line in _Move(source, database, progress, is_outbox_apart=is_outbox_apart).run():
                        say(line)
            except StorageError as error:
                raise error.explained(f"the database ({place})") from error
    except StorageError as error:
        raise error.explained(path) from error


def _has_outbox(source: Connection) -> bool:
    return bool(source.execute("SELECT 1 FROM sqlite_schema WHERE name = 'outbox'").fetchall())


def _check_nothing_waits(path: Path, source: Connection) -> None:
    if _has_outbox(source) and source.execute(f"{_WAITING} LIMIT 1").fetchall():
        raise Refused(
            f"{path}: rows wait in its outbox, and outbox.url names another one. Let the daemon take them first, by the "
            "configuration of before, and have the producers insert into the other one afterwards."
        )


class _Move:
    """One move, from a connection to a session."""

    def __init__(
        self, source: Connection, database: DatabaseSession, progress: Progress, *, is_outbox_apart: bool
    ) -> None:
        self._source = source
        self._database = database
        self._progress = progress
        self._copies_outbox = _has_outbox(source) and not is_outbox_apart

    def run(self) -> Iterator[str]:
        """Yield a sentence for each thing that was done, and for what takes long before it is."""
        database_id, _ = outbox.identity(self._source)
        with writing(self._database, statement=LONG):
            moves.begin(self._database, database_id)
        counts = {table: int(self._source.execute(f"SELECT count(*) FROM {table}").fetchone()[0]) for table in TABLES}
        for work, words in ((self._copy, "to copy"), (self._compare, "to compare")):
            for table, count in counts.items():
                if count:
                    yield f"{table}: {count} rows {words}."
                work(table, TABLES[table], count)
        count = sum(counts.values())
        yield f"{self._database.place}: {count} rows copied and compared."
        yield "PostgreSQL now looks at a sample of each table (ANALYZE), so that the daemon's statements are planned for its rows."
        with writing(self._database, statement=LONG):
            moves.analyse(self._database, TABLES)
        ((revision, pruned),) = self._source.execute("SELECT revision, pruned_before FROM database_meta").fetchall()
        with writing(self._database, statement=LONG):
            outbox_rows = (
                self._copy_outbox()
                if self._copies_outbox
                else "Nothing of an outbox was copied: what was rejected stays where it is."
            )
            moves.analyse(self._database, ("outbox",))
            moves.finish(self._database, database_id, int(revision), str(pruned))
        yield f"{outbox_rows} Sessions and links of before are over."

    def _copy_outbox(self) -> str:
        """Copy what waits in the outbox, and what was rejected; return what was done. Called inside a transaction.

        Raises `Refused` for a row that waits and cannot be there.
        """
        waiting = 0
        for row in self._source.execute(_WAITING):
            moves.put_into_outbox(self._database, *row[:3], _text(row), row[4], None)
            waiting += 1
        rejected = [self._copy_rejected(row) for row in self._source.execute(_REJECTED)]
        left = rejected.count(False)
        return (
            f"Of the outbox {waiting} rows that waited were copied, and {rejected.count(True)} that were rejected."
            + (f" {left} more were rejected that PostgreSQL cannot have: they stay in the file." if left else "")
        )

    def _copy_rejected(self, row: Row) -> bool:
        try:
            return moves.try_to_put_into_outbox(self._database, *(bytes(value).decode() for value in row))
        except UnicodeDecodeError:
            return False

    def _copy(self, table: str, key: tuple[str, ...], total: int) -> None:
        """Copy the rows behind the last one that is there."""
        columns = self._columns(table, key)
        with writing(self._database, statement=LONG):
            copied, after = moves.reached(self._database, table, key)
        while rows := self._rows(table, columns, key, after):
            with writing(self._database, statement=LONG):
                moves.put(self._database, table, columns, (self._sealed(table, columns, row) for row in rows))
            copied, after = copied + len(rows), tuple(rows[-1][columns.index(name)] for name in key)
            self._progress(table, copied, total)

    def _columns(self, table: str, key: tuple[str, ...]) -> list[str]:
        names = [row[1] for row in self._source.execute(f"PRAGMA table_info({table})")]
        return ["rowid", *names] if key == ("rowid",) else names

    def _rows(self, table: str, columns: list[str], key: tuple[str, ...], after: Row | None) -> list[Row]:
        """Return the next rows of the file, fewer where they are large; none at its end."""
        behind = f"WHERE ({', '.join(key)}) > ({', '.join('?' * len(key))})" if after is not None else ""
        query = f"SELECT {', '.join(columns)} FROM {table} {behind} ORDER BY {', '.join(key)} LIMIT {STEP}"
        rows: list[Row] = []
        size = 0
        with closing(self._source.execute(query, after or ())) as found:
            for row in found:
                rows.append(tuple(moves.storable(value) for value in row))
                size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
                if size > STEP_BYTES:
                    break
        return rows

    def _sealed(self, table: str, columns: list[str], row: Row) -> Row:
        """Return a row as the new database has it: what is secret in it is sealed with its key."""
        return _with_secrets(table, columns, row, self._source.seals, self._database.seals)

    def _compare(self, table: str, key: tuple[str, ...], _: int) -> None:
        """Raise `Refused` unless both have the same rows, what is secret in them compared as it is opened."""
        columns, after = self._columns(table, key), None
        plain = Seals(self._database.seals.path, is_on=False)
        while True:
            ours = self._rows(table, columns, key, after)
            theirs = moves.rows(self._database, table, columns, key, after, max(1, len(ours)))
            opened = [_with_secrets(table, columns, row, self._source.seals, plain) for row in ours]
            if opened != [_with_secrets(table, columns, row, self._database.seals, plain) for row in theirs]:
                raise Refused(
                    f"{table}: the rows that were copied are not those of the file. Drop the schema "
                    f"{self._database.place.schema}, and begin again."
                )
            if not ours:
                return
            after = tuple(ours[-1][columns.index(name)] for name in key)


def _with_secrets(table: str, columns: list[str], row: Row, old: Seals, new: Seals) -> Row:
    """Return a row with what is secret in it sealed by other keys."""
    if table != "webhooks":
        return row
    fields = dict(zip(columns, row, strict=True))
    for field in (SECRET, NEXT_SECRET):
        if fields[field]:
            fields[field] = new.seal(old.open(fields[field], fields["id"], field), fields["id"], field)
    fields["headers"] = seal_headers(new, fields["id"], open_headers(old, fields["id"], fields["headers"]), ())
    return tuple(fields.values())


def _text(row: Row) -> str:
    """Return the payload of a row of the outbox."""
    payload: bytes = row[3]
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Refused(
            f"outbox: the row of event {row[0]} is not UTF-8. Let the daemon reject it first, or delete the row."
        ) from None


def check(path: Path) -> None:
    """Raise `Misconfigured` unless there is a file to copy."""
    if not path.is_file():
        raise Misconfigured(f"--from: there is no file {path}.")
