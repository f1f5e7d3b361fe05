"""The daemon with everything in PostgreSQL."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Misconfigured
from almirant_webhooks.ops import sealed_texts
from almirant_webhooks.settings import loading
from almirant_webhooks.storage.postgres import operator_keys
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.lease import Superseded
from almirant_webhooks.storage.postgres.stores import PostgresDeliveryStore
from almirant_webhooks.storage.sql import webhooks

from ...conftest import Receiver
from ...faults.cutting import Cut, cutting
from ...support.postgres import new_tables
from ...support.postgres_service import EverythingInPostgres, shell_of_all

DELIVERS = b"UPDATE daemon_batches"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[EverythingInPostgres]:
    """A daemon, not started yet."""
    there = EverythingInPostgres(tmp_path, new_tables())
    there.migrate()
    yield there
    await there.close()


async def test_what_is_committed_is_delivered_and_leaves_the_outbox(
    service: EverythingInPostgres, receiver: Receiver
) -> None:
    """One transaction takes the row and records the event (contract, section 6)."""
    await service.start(migrating=False)
    service.webhook(receiver.url)
    event = service.commit('{"n": 1}')
    await service.until(lambda: service.states() == [("succeeded", 1)])
    assert event in receiver.requests[0].body.decode()
    assert service.ask("SELECT count(*) FROM outbox") == (0,)


@pytest.mark.slow
@pytest.mark.parametrize("cut", Cut)
async def test_a_commit_whose_answer_was_lost_is_looked_up(
    service: EverythingInPostgres, receiver: Receiver, cut: Cut
) -> None:
    """What it began was not sent and is begun anew with the same number, so nothing is recorded that did not happen."""
    cuts = iter([None, cut])
    async with cutting(service.there, DELIVERS, lambda: next(cuts, None)) as service.url:
        service.webhook(receiver.url)
        service.commit()
        await service.start(migrating=False)
        service.commit()
        await service.until(lambda: service.states() == [("succeeded", 1)] * 2, 30)
        await service.stop()
    assert next(cuts, None) is None
    assert len(receiver.requests) == 2
    attempts = service.there.ask("SELECT number, outcome FROM attempts")
    assert attempts == [(1, "success")] * 2


@pytest.mark.slow
@pytest.mark.parametrize("cut", Cut)
async def test_a_daemon_whose_taking_of_projects_was_not_answered_finds_out_what_it_owns(
    service: EverythingInPostgres, receiver: Receiver, cut: Cut
) -> None:
    """It reads that again, whether the commit has succeeded or not."""
    cuts = iter([cut])
    async with cutting(service.there, b", since = clock_timestamp()", lambda: next(cuts, None)) as service.url:
        service.webhook(receiver.url)
        service.commit()
        await service.start(migrating=False)
        await service.until(lambda: service.states() == [("succeeded", 1)])
        await service.stop()
    assert next(cuts, None) is None


async def test_an_idle_daemon_that_was_taken_for_gone_ends(service: EverythingInPostgres) -> None:
    """And what it does beside delivering is refused as well."""
    daemon = await service.start(migrating=False)
    await service.until(lambda: service.ask("SELECT count(*) FROM buckets WHERE daemon_id IS NOT NULL") == (64,))
    service.there.ask("DELETE FROM daemons")
    with pytest.raises(Superseded):
        await daemon.storage.database.write(lambda session: None)
    await daemon.wait()
    service.daemon = None
    with pytest.raises(Superseded):
        await daemon.stop()


def test_the_key_of_links_is_sealed_with_the_newest_key(service: EverythingInPostgres) -> None:
    """So that an old key can be taken out of the file after `secrets rotate-key` (contract, *How these meet*)."""
    before = service.read(operator_keys.read)
    assert not service.read(operator_keys.is_stale)
    service.key.write_text(service.key.read_text() + sealed_texts.new_line())
    assert service.read(operator_keys.is_stale)
    service.write(operator_keys.reseal)
    assert not service.read(operator_keys.is_stale)
    assert service.read(operator_keys.read) == before


def test_a_page_s_session_goes_on_after_its_connection_has_ended(service: EverythingInPostgres) -> None:
    """Another one is made where the transaction begins: nothing was done yet."""

    def read_twice(session: object) -> list[int]:
        store = PostgresDeliveryStore(Inside(keep=False))
        before = store.changes(session)  # type: ignore[arg-type]
        service.there.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        return [before, store.changes(session)]  # type: ignore[arg-type]

    first, second = service.read(read_twice)
    assert first == second


def test_commands_work_on_it(service: EverythingInPostgres, tmp_path: Path) -> None:
    """As on a file, but for what is SQLite's alone, which says what to do instead."""
    shell = shell_of_all(service, tmp_path)
    made = shell.ours("webhook", "create", "--project", "p", "--url", "http://127.0.0.1:9/", "--event", "*", "--json")
    webhook = json.loads(made)["id"]
    assert webhook in shell.ours("webhook", "list")
    shell.ours("webhook", "disable", webhook)
    shell.ours("webhook", "enable", webhook)
    shell.ours("webhook", "update", webhook, "--rate-limit", "10/s", "--ordered")
    shell.ours("webhook", "test", webhook)
    delivery = json.loads(shell.ours("delivery", "list", "--json"))[0]["delivery_id"]
    assert delivery in shell.ours("delivery", "show", delivery)
    assert "webhook.created" in shell.ours("audit")
    assert json.loads(shell.ours("stats", "--json"))["daemon"]["running"] is False
    shell.ours("prune")
    shell.ours("delivery", "list", "--status", "5xx", "--since", "1h")
    shell.ours("secrets", "rotate-key", code=1)
    findings = {
        row["check"]: row["result"]
        for row in json.loads(
            shell.ours("doctor", "--json", code=1)[:-1] if False else shell.ours("doctor", "--json", code=1)
        )
    }
    assert findings["PostgreSQL"] == "ok"
    assert findings["daemon"] == "wrong"
    assert "pg_dump" in shell.ours("backup", str(tmp_path / "copy.db"), code=1)
    shell.ours("migrate")
    shell.ours("webhook", "delete", webhook, "--yes")


async def test_what_people_do_with_events_works_on_it(
    service: EverythingInPostgres, receiver: Receiver, tmp_path: Path
) -> None:
    """Send, search, preview, replay, resend and erase, as commands while the daemon works."""
    shell = shell_of_all(service, tmp_path)
    await service.start(migrating=False)
    first = service.webhook(receiver.url)
    sent = shell.ours("event", "send", "--project", "proj_1", "--type", "lead.created", "--data", '{"n": "Ada"}')
    await service.until(lambda: service.states() == [("succeeded", 1)])
    event = json.loads(shell.ours("event", "list", "--text", "ada", "--json"))[0]["event_id"]
    assert event in sent
    assert first.id in shell.ours("event", "show", event)
    second = service.webhook(receiver.url + "/second")
    shell.ours("webhook", "preview", second.id)
    shell.ours("webhook", "replay", second.id, "--since", "1h", "--yes")
    await service.until(lambda: service.states() == [("succeeded", 1)] * 2)
    shell.ours("delivery", "resend", "--webhook", first.id, "--state", "succeeded", "--yes")
    await service.until(lambda: sorted(service.states()) == [("succeeded", 1), ("succeeded", 2)])
    erased = await asyncio.to_thread(shell.ours, "event", "erase", event, "--yes")  # it waits for the daemon
    assert "1" in erased
    assert "Ada" not in shell.ours("event", "show", event)
    assert service.there.ask("SELECT count(*) FROM events WHERE body LIKE '%Ada%'") == [(0,)]
    shell.ours("activity", "--project", "proj_1")


def test_a_text_with_a_nul_fails_nothing(service: EverythingInPostgres) -> None:
    """PostgreSQL has no such text: a search finds nothing, and what is stored has a sign in its place."""
    assert service.log(cause="a\0b") == []
    webhook = service.webhook("http://127.0.0.1:9/in")
    service.write(webhooks.update, webhook.id, description="a\0b", now=clock.now())
    assert service.ask("SELECT description FROM webhooks") == ("a\ufffdb",)


def test_the_operator_s_token_is_shown_once(service: EverythingInPostgres, tmp_path: Path) -> None:
    """A digest is kept; `--rotate` makes another one, which is shown."""
    shell = shell_of_all(service, tmp_path)
    assert "--rotate" in shell.ours("token", code=1)
    token = shell.ours("token", "--rotate", "--yes").strip()
    assert token.startswith("awt_")
    assert service.ask("SELECT token_digest FROM operator_keys") == (hashlib.sha256(token.encode()).hexdigest(),)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('path = "x.db"', "database.path"),
        ('[outbox]\npath = "x.db"', "outbox.path"),
        ("[secrets]\nseal = true", "secrets.key_file"),
    ],
)
def test_what_does_not_go_with_it_is_named(tmp_path: Path, more: str, words: str) -> None:
    """Nothing is chosen for the operator."""
    config = tmp_path / "config.toml"
    config.write_text(f'[database]\nurl = "postgresql:///hooks"\n{more}\n')
    with pytest.raises(Misconfigured, match=words):
        loading.load(str(config))
