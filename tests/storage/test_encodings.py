"""An application's database whose text is stored as UTF-16: the rules are of the text, not of how it is stored."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from almirant_webhooks.storage.sqlite import outbox, rejected_rows, stats
from almirant_webhooks.storage.sqlite.migrate import outbox_sql

from ..conftest import Receiver
from ..support.service import Service

pytestmark = pytest.mark.sqlite

MOST = 262_144
ENCODINGS = ("UTF-8", "UTF-16le", "UTF-16be")


def make(path: Path, encoding: str) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"PRAGMA encoding='{encoding}'")
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
        conn.executescript(outbox_sql())
        assert conn.execute("PRAGMA encoding").fetchone() == (encoding,)


def payload_of(size: int, char: str) -> str:
    """A payload of so many bytes of UTF-8, most of them of one character."""
    count, rest = divmod(size - len('{"a":""}'), len(char.encode()))
    return f'{{"a":"{char * count}{"b" * rest}"}}'


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("char", ["a", "é", "漢", "😀"])
def test_the_size_of_a_payload_is_counted_in_utf_8(tmp_path: Path, encoding: str, char: str) -> None:
    """The INSERT takes 256 KiB and refuses one byte more, whatever the database's encoding."""
    make(tmp_path / "shop.db", encoding)
    insert = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', ?)"
    with closing(sqlite3.connect(tmp_path / "shop.db")) as conn:
        conn.execute(insert, (payload_of(MOST, char),))
        with pytest.raises(sqlite3.IntegrityError, match="payload must be at most 256 KiB of UTF-8"):
            conn.execute(insert, (payload_of(MOST + 1, char),))
        for broken in (payload_of(MOST, char)[:-1], "[]", '{"a": 1}\0'):
            with pytest.raises(sqlite3.IntegrityError, match="payload must be a JSON object"):
                conn.execute(insert, (broken,))


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_good_rows_beside_a_broken_one_arrive_as_they_were_written(
    service: Service, receiver: Receiver, tmp_path: Path, encoding: str
) -> None:
    """What no text can be is rejected in the words of the database's encoding; sizes are those of UTF-8."""
    service.outbox = tmp_path / "shop.db"
    make(service.outbox, encoding)
    service.migrate()
    service.webhook(receiver.url)
    good = [payload_of(MOST, "x"), payload_of(MOST, "漢"), '{"a": "Søren 😀"}', "{}"]
    half = {"UTF-8": b"\xff", "UTF-16le": b"\x00\xd8", "UTF-16be": b"\xd8\x00"}[encoding]
    broken = f'{{"a": "{"é" * 600}'.encode(encoding) + half + '"}'.encode(encoding)
    conn = service.producer()
    insert = "INSERT INTO outbox (project_id, event_type, payload, occurred_at) VALUES ('proj_1', 'lead.created', CAST(x'{bytes}' AS TEXT), '2026-11-23T09:00:00.000Z')"
    with conn:
        conn.execute("PRAGMA ignore_check_constraints=ON")
        first, *others = (payload.encode(encoding) for payload in (*good, payload_of(MOST + 3, "漢")))
        for stored in (first, broken, others.pop(), *others):
            conn.execute(insert.replace("{bytes}", stored.hex()))  # bound, bytes would be taken for UTF-8
    with closing(outbox.open_outbox(service.database, service.outbox)) as ours:
        now = datetime(2026, 11, 23, 9, 1, tzinfo=UTC)
        assert stats.outbox(ours, now)["oldest_unread_seconds"] == 60
    await service.start()
    await service.until(lambda: len(service.log(state="succeeded")) == len(good))
    reasons = "SELECT rejected_reason FROM outbox WHERE rejected_reason IS NOT NULL ORDER BY id"
    await service.until(lambda: len(conn.execute(reasons).fetchall()) == 2)
    at = len(f'{{"a": "{"é" * 600}'.encode(encoding))
    assert [row[0] for row in conn.execute(reasons)] == [
        f"payload is not {encoding} (byte {at})",
        f"payload is larger than 256 KiB ({MOST + 3} bytes)",
    ]
    unread = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL AND rejected_reason IS NULL"
    await service.until(lambda: conn.execute(unread).fetchone() == (0,))
    assert sorted(request.body.decode().partition('"data": ')[2][:-1] for request in receiver.requests) == sorted(good)
    assert len({json.loads(request.body)["id"] for request in receiver.requests}) == len(good)
    with closing(outbox.open_outbox(service.database, service.outbox)) as ours:
        assert [(row["project_id"], row["event_type"]) for row in rejected_rows.newest(ours, 10)[0]] == [("proj_1", "lead.created")] * 2  # fmt: skip
    conn.close()
