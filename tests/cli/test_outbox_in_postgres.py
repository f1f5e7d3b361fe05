"""The commands where the outbox is in an application's PostgreSQL."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from almirant_webhooks.storage.postgres import scripts

from ..conftest import Receiver
from ..support.postgres import new_database
from ..support.postgres_service import BESIDE, INSERT, Make

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]


@pytest.fixture(params=BESIDE)
def make(request: pytest.FixtureRequest) -> Make:
    """Make a service, not started yet, whose outbox is in a database of an application's."""
    return BESIDE[request.param]


def test_serve_makes_nothing_in_somebody_else_s_database(tmp_path: Path, make: Make) -> None:
    """`migrate` does, once; without the tables `serve` says so and ends with 78."""
    there = new_database(with_outbox=False)
    shell = make(tmp_path, there).shell()
    there_before = there.ask("SELECT count(*) FROM pg_class")
    there_words = shell.ours("serve", code=78)
    assert "migrate" in there_words
    assert there.ask("SELECT count(*) FROM pg_class") == there_before
    shell.ours("migrate")
    assert shell.ours("migrate") == ""
    assert there.ask("SELECT schema_version, database_id FROM outbox_meta") == [(scripts.SCHEMA_VERSION, None)]


def test_an_event_is_sent_and_asked_for_there(tmp_path: Path, make: Make) -> None:
    """Sent, refused in the producers' words, counted, and found before the daemon has it."""
    there = new_database()
    shell = make(tmp_path, there).shell()
    shell.ours("migrate")
    send = ["event", "send", "--project", "p", "--type", "lead.created", "--id", "e1", "--data"]
    shell.ours(*send, '{"n": 1}')
    shell.ours(*send, '{"n": 1}')
    assert "other content" in shell.ours(*send, '{"n": 2}', code=1)
    assert "JSON object" in shell.ours(*send, "[]", code=1)
    assert there.ask("SELECT event_id, project_id, event_type, payload FROM outbox") == [
        ("e1", "p", "lead.created", '{"n": 1}')
    ]
    assert "not taken yet" in shell.ours("event", "show", "e1", code=1)
    assert json.loads(shell.ours("stats", "--json"))["outbox"]["unread"] == 1


async def test_a_rejected_row_is_listed_and_taken_once_its_reason_is_gone(
    tmp_path: Path, receiver: Receiver, make: Make
) -> None:
    """As with a file: an UPDATE to NULL makes the daemon try again. Old rows are pruned there."""
    there = new_database()
    service = make(tmp_path, there)
    shell = service.shell()
    shell.ours("migrate")
    there.ask("ALTER TABLE outbox DROP CONSTRAINT outbox_event_type")
    there.ask("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'Bad', '{}')")
    try:
        await service.start(migrating=False)
        service.webhook(receiver.url)
        await service.until(service.is_marked)
        (row,) = json.loads(shell.ours("event", "list", "--rejected", "--json"))
        assert (row["event_type"], row["project_id"]) == ("Bad", "proj_1")
        assert json.loads(shell.ours("stats", "--json"))["outbox"]["rejected"] == 1
        there.ask("UPDATE outbox SET event_type = 'a.good', rejected_reason = NULL")
        await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
    finally:
        await service.close()
    there.ask("UPDATE outbox SET fanned_out_at = now() - interval '8 days'")
    assert json.loads(shell.ours("prune", "--dry-run", "--json"))["outbox"] == 1
    assert json.loads(shell.ours("prune", "--json"))["outbox"] == 1
    assert there.ask("SELECT FROM outbox") == []


async def test_what_is_erased_is_overwritten_there(tmp_path: Path, receiver: Receiver, make: Make) -> None:
    there = new_database()
    service = make(tmp_path, there)
    shell = service.shell()
    shell.ours("migrate")
    try:
        await service.start(migrating=False)
        service.webhook(receiver.url)
        event = service.commit('{"name": "Mallory"}')
        await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
    finally:
        await service.close()
    shell.ours("event", "erase", event, "--yes")
    assert "Mallory" not in str(there.ask("SELECT payload FROM outbox"))


def test_another_database_does_not_take_from_it_until_it_adopts_it(tmp_path: Path, make: Make) -> None:
    """Exit 78 with what to do; taken over, the rows of the last time are looked at again."""
    there = new_database()
    shell = make(tmp_path, there).shell()
    shell.ours("migrate")
    there.ask("UPDATE outbox_meta SET database_id = 'another', batch = 7")
    with there.connect() as conn:
        conn.execute(INSERT, ["{}"])
        conn.execute("UPDATE outbox SET fanned_out_at = now()")
    assert "--adopt-outbox" in shell.ours("serve", code=78)
    shell.ours("migrate", "--adopt-outbox", "--since", "1h")
    assert there.ask("SELECT fanned_out_at FROM outbox") == [(None,)]
    assert there.ask("SELECT database_id FROM outbox_meta") != [("another",)]


def test_doctor_looks_at_the_server(tmp_path: Path, make: Make) -> None:
    """It tries an INSERT and a mark, and whether a NOTIFY arrives; it names what is wrong."""
    there = new_database()
    shell = make(tmp_path, there).shell()
    shell.ours("migrate")
    words = shell.ours("doctor", code=1)  # no daemon runs
    assert "An INSERT into the outbox works" in words
    assert "NOTIFY" in words
    there.ask("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$")
    there.ask("CREATE TRIGGER app_no BEFORE UPDATE ON outbox FOR EACH ROW EXECUTE FUNCTION no()")
    assert "app_no" in shell.ours("doctor", code=1)
    there.ask("DROP TABLE outbox")
    assert "one is there without the other" in shell.ours("doctor", code=1)
    assert there.ask("SELECT schema_version FROM outbox_meta") == [(scripts.SCHEMA_VERSION,)]


def test_without_the_driver_each_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    shell = make(tmp_path, new_database()).shell()
    for name in list(sys.modules):
        if name.startswith(("psycopg", "almirant_webhooks.storage.postgres", "almirant_webhooks.storage.mixed")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install almirant-webhooks[postgres]" in shell.ours("migrate", code=78)
