"""Numbers of the outbox's rows: one that a producer gives can keep no later row out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from almirant_webhooks.storage.sqlite import migrate, outbox, trial

INSERT = "INSERT INTO outbox (id, project_id, event_type, payload) VALUES (?, 'p', 'a.b', '{}') RETURNING id"
LAST = 2**62 - 1


def _insert(conn: sqlite3.Connection, row_id: int | None = None) -> int:
    return int(conn.execute(INSERT, (row_id,)).fetchone()[0])


def _first_release(conn: sqlite3.Connection) -> None:
    """Make an outbox as the first release did."""
    script = files("almirant_webhooks.storage.sqlite").joinpath("outbox_migrations", "0001_outbox.sql").read_text()
    conn.executescript(script)


@pytest.fixture
def printed() -> Iterator[sqlite3.Connection]:
    """An outbox that an application made of what `outbox-sql` prints."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as conn:
        conn.executescript(migrate.outbox_sql())
        yield conn


@pytest.mark.parametrize("row_id", [2**61, 2**62 - 2**32, LAST])
@pytest.mark.parametrize("is_there", [False, True])
def test_an_id_that_would_keep_later_rows_out_is_refused(
    printed: sqlite3.Connection, row_id: int, is_there: bool
) -> None:
    """In words, by an INSERT, an INSERT OR REPLACE and an UPDATE alike."""
    if is_there:
        _insert(printed)
    replace = INSERT.replace("INSERT", "INSERT OR REPLACE")
    for statement, values in ((INSERT, (row_id,)), (replace, (row_id,)), ("UPDATE outbox SET id = ?", (row_id,))):
        if statement.startswith("UPDATE") and not is_there:
            continue
        with pytest.raises(sqlite3.IntegrityError, match=r"id must be below 2\^61, or be left out"):
            printed.execute(statement, values).fetchall()
    assert _insert(printed) == 1 + is_there


def test_rows_follow_the_largest_id_that_may_be_given(printed: sqlite3.Connection) -> None:
    """There is room for as many again, however often somebody gives the next one."""
    assert _insert(printed, 2**61 - 1) == 2**61 - 1
    assert [_insert(printed) for _ in range(3)] == [2**61, 2**61 + 1, 2**61 + 2]
    assert _insert(printed, 2**61 + 3) == 2**61 + 3
    printed.execute(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', '{}'), ('p', 'a.b', '{}')"
    )
    assert _insert(printed, -5) == -5
    assert _insert(printed) == 2**61 + 6


@pytest.mark.parametrize("place", ["in the database", "in a file of its own", "in an application's file"])
def test_an_outbox_of_the_first_release_takes_rows_again(place: str, tmp_path: Path) -> None:
    """Whoever's file it is in, `migrate` mends it; no row is lost or changed but for its number."""
    path = tmp_path / "hooks.db"
    outbox_path = None if place == "in the database" else tmp_path / "outbox.db"
    file = outbox_path or path
    if outbox_path is None:
        migrate.migrate(path, None)
    with closing(sqlite3.connect(file, isolation_level=None)) as conn:
        if outbox_path is None:
            conn.executescript("DROP TABLE outbox; DROP TABLE outbox_meta")
        if place == "in an application's file":
            conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        _first_release(conn)
        _insert(conn)
        _insert(conn, LAST)
        with pytest.raises(sqlite3.IntegrityError):
            _insert(conn)
        rows = "SELECT event_id, project_id, event_type, payload, occurred_at FROM outbox ORDER BY id"
        before = conn.execute(rows).fetchall()
    assert any("outbox brought to schema" in line for line in migrate.migrate(path, outbox_path))
    with closing(outbox.open_outbox(path, outbox_path)) as conn:
        assert [tuple(row) for row in conn.execute(rows)] == before
        assert trial.insert(conn) is None
        with pytest.raises(sqlite3.IntegrityError, match="id must be below"):
            _insert(conn, LAST)
        assert [_insert(conn), _insert(conn)] == [2**61, 2**61 + 1]
    assert migrate.migrate(path, outbox_path) == []
