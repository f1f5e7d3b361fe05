"""Erasing by command and API, with the daemon running and stopped: the files have none of it, and the trail says who."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage.sql import audit, log

from ..conftest import Receiver
from ..support.bytes import files_with
from ..support.service import Service
from ..support.shell import Shell

NEEDLE = "Kierkegaard 4711"
PERSON = {"lead": {"name": NEEDLE, "more": "x" * 2000}}


def shell(service: Service, folder: Path) -> Shell:
    """Commands on the service's files; the configuration lies apart from what is searched."""
    folder.mkdir(exist_ok=True)
    there = service.shell(folder)
    if service.outbox is not None:
        there.config.write_text(f'{there.config.read_text()}[outbox]\npath = "{service.outbox}"\n')
    return there


async def run(there: Shell, *words: str, code: int = 0) -> str:
    """Run a command beside a daemon that runs in this loop."""
    return await asyncio.to_thread(there.ours, *words, code=code)


def trail(service: Service) -> list[tuple[str, str]]:
    return [
        (row["project_id"], row["detail"]) for row in service.read(audit.entries, AuditSelection(action="event.erased"))
    ]


async def delivered(service: Service, receiver: Receiver, payload: object = PERSON, count: int = 1) -> list[str]:
    """Have events of a person delivered; the receiver's answer repeats what it got."""

    async def repeat(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    receiver.answer = repeat
    events = service.insert(*([payload] * count))
    await service.until(lambda: len(service.log(state="succeeded", limit=200)) >= count)
    return events


async def delivering(folder: Path, receiver: Receiver, *, apart: bool = False) -> tuple[Service, str]:
    """Start a daemon on files of a new folder, the outbox in one of its own or not, and have an event of a person delivered."""
    folder.mkdir()
    service = Service(folder / "log.db", folder / "outbox.db" if apart else None)
    await service.start()
    service.webhook(receiver.url)
    (event,) = await delivered(service, receiver)
    return service, event


@pytest.mark.long
@pytest.mark.parametrize("apart", [False, True], ids=["in the database", "in a file of its own"])
@pytest.mark.parametrize("running", [True, False], ids=["daemon running", "daemon stopped"])
async def test_nothing_of_an_erased_event_is_left_in_any_file(
    tmp_path: Path, receiver: Receiver, apart: bool, running: bool
) -> None:
    """By its id; the command returns once that is so."""
    folder = tmp_path / "data"
    service, event = await delivering(folder, receiver, apart=apart)
    (other,) = service.insert({"lead": {"name": "somebody else"}})
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    if not running:
        await service.stop()
    assert files_with(folder, NEEDLE.encode())
    there = shell(service, tmp_path / "shell")
    counted = json.loads(await run(there, "event", "erase", event, "--dry-run", "--json"))
    assert counted == {"events": 1, "deliveries": 1, "rejected_rows": 0}
    assert files_with(folder, NEEDLE.encode())
    answer = json.loads(await run(there, "event", "erase", event, "--yes", "--json"))
    assert {name: answer[name] for name in ("events", "deliveries", "outbox_rows")} == {
        "events": 1, "deliveries": 1, "outbox_rows": 1,
    }  # fmt: skip
    assert any("backups" in line for line in answer["not_reached"])
    assert files_with(folder, NEEDLE.encode()) == []
    assert trail(service) == [("proj_1", "1 events, by id")]
    assert service.read(log.event, event)["erased_at"]
    assert service.read(log.event, other)["erased_at"] is None
    assert "Its content was erased at" in await run(there, "event", "show", event)
    delivery = service.log(event_id=event)[0]["delivery_id"]
    if running:
        assert "the body is gone" in await run(there, "delivery", "resend", delivery, code=1)
    await service.close()


@pytest.mark.long
async def test_a_search_erases_all_that_has_the_text_and_nothing_else(tmp_path: Path, receiver: Receiver) -> None:
    """Of a project or all, since a time or ever, rejected rows of the outbox too; the text is in no file afterwards."""
    folder = tmp_path / "data"
    folder.mkdir()
    service = Service(folder / "log.db")
    await service.start()
    service.webhook(receiver.url)
    await delivered(service, receiver, count=12)
    service.insert(PERSON, project="proj_2")
    service.insert({"lead": {"name": "somebody else"}})
    with closing(sqlite3.connect(service.database)) as producer, producer:
        producer.execute("PRAGMA ignore_check_constraints = ON")
        producer.execute(
            "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'Bad', ?)", (json.dumps(PERSON),)
        )
    await service.until(lambda: service.ask("SELECT count(*) FROM outbox WHERE rejected_reason IS NOT NULL")[0] == 1)
    await service.until(lambda: len(service.log(state="succeeded", limit=50)) == 13)
    there = shell(service, tmp_path / "shell")
    assert "say --yes" in await run(there, "event", "erase", "--search", NEEDLE, code=1)
    erased = json.loads(
        await run(there, "event", "erase", "--search", NEEDLE.upper(), "--project", "proj_1", "--yes", "--json")
    )
    assert (erased["events"], erased["deliveries"], erased["outbox_rows"]) == (12, 12, 13)
    assert files_with(folder, NEEDLE.encode()) == ["log.db"]  # of the other project
    assert (
        json.loads(await run(there, "event", "erase", "--search", NEEDLE, "--since", "0s", "--dry-run", "--json"))[
            "events"
        ]
        == 0
    )
    await run(there, "event", "erase", "--search", NEEDLE, "--yes")
    assert files_with(folder, NEEDLE.encode()) == []
    assert trail(service)[0] == ("proj_2", "1 events, by a search")
    assert NEEDLE not in str(service.read(audit.entries, limit=100))
    await service.close()


@pytest.mark.long
async def test_in_an_applications_file_rows_alone_are_overwritten(tmp_path: Path, receiver: Receiver) -> None:
    """Its WAL and its free pages are the application's, and the answer says so."""
    service = Service(tmp_path / "log.db", tmp_path / "app.db")
    service.make_application("wal")
    await service.start()
    service.webhook(receiver.url)
    (event,) = await delivered(service, receiver)
    there = shell(service, tmp_path / "shell")
    assert "its free pages, its WAL" in await run(there, "event", "erase", event, "--yes")
    assert service.ask("SELECT rtrim(payload) FROM outbox")[0] == '{"almirant.erased": true}'
    assert "log.db" not in " ".join(files_with(tmp_path, NEEDLE.encode()))
    await service.close()


@pytest.mark.long
async def test_an_applications_trigger_that_keeps_its_rows_is_named_once_the_rest_is_done(
    tmp_path: Path, receiver: Receiver
) -> None:
    """The database has nothing of it any more; the row is the application's to let go."""
    service = Service(tmp_path / "log.db", tmp_path / "app.db")
    service.make_application("wal")
    await service.start()
    service.webhook(receiver.url)
    (event,) = await delivered(service, receiver)
    await service.until(lambda: service.ask("SELECT fanned_out_at FROM outbox")[0])
    with closing(service.producer()) as application, application:
        application.execute(
            "CREATE TRIGGER keeps BEFORE UPDATE OF payload ON outbox BEGIN SELECT raise(ABORT, 'it is kept'); END"
        )
    said = await run(shell(service, tmp_path / "shell"), "event", "erase", event, "--yes", code=1)
    assert "(keeps) fails: it is kept" in said
    assert service.read(log.event, event)["erased_at"]
    await service.until(lambda: not set(files_with(tmp_path, NEEDLE.encode())) & {"log.db", "log.db-wal"})
    await service.close()


@pytest.mark.long
async def test_what_waits_is_cancelled_and_a_reader_holds_the_end_up(tmp_path: Path, receiver: Receiver) -> None:
    """The command says so, goes on, and ends when the reader does."""
    service = Service(tmp_path / "log.db")
    await service.start()
    webhook = service.webhook(receiver.url)
    there = shell(service, tmp_path / "shell")
    await run(there, "webhook", "disable", webhook.id)
    (event,) = service.insert(PERSON)
    await service.until(lambda: service.log(state="held"))
    with closing(sqlite3.connect(service.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        command = asyncio.create_task(run(there, "event", "erase", event, "--yes"))
        await service.until(lambda: service.log(state="cancelled"))
        assert service.read(lambda conn: conn.execute("SELECT erased_at FROM database_meta").fetchone()[0])
        assert not command.done()
        reader.execute("ROLLBACK")
    await command
    assert files_with(tmp_path, NEEDLE.encode()) == []
    assert receiver.requests == []
    await service.close()


@asynccontextmanager
async def api(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    address = await service.serve()
    headers = {"Authorization": f"Bearer {service.keys().token}"}
    async with aiohttp.ClientSession(address, headers=headers) as client:
        yield client


async def post(client: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with client.post(f"/api/v1{path}", json=body) as answer:
        return answer.status, await answer.json()


@pytest.mark.long
async def test_the_api_erases_by_id_and_by_text(service: Service, receiver: Receiver) -> None:
    """What it answers is committed; the daemon cleans the files within seconds."""
    async with api(service) as client:
        service.webhook(receiver.url)
        first, *_ = await delivered(service, receiver, count=3)
        status, erased = await post(client, f"/events/{first}/erase", {})
        assert (status, erased["events"], erased["deliveries"]) == (202, 1, 1)
        assert (await post(client, "/events/none/erase", {}))[0] == 404
        status, found = await post(client, "/events/erase", {"search": NEEDLE, "dry_run": True})
        assert (status, found["events"], found["next_cursor"]) == (200, 2, "r0")
        status, erased = await post(client, "/events/erase", {"search": NEEDLE, "since": "1h"})
        assert (status, erased["events"]) == (202, 2)
        assert (await post(client, "/events/erase", {"search": NEEDLE, "cursor": "r0"}))[1]["next_cursor"] is None
        for wrong in ({"search": " "}, {"search": "x", "cursor": "z1"}, {"search": "x", "since": "yesterdayish"}):
            assert (await post(client, "/events/erase", wrong))[0] == 422
        await service.until(lambda: NEEDLE not in service.dump())
        await service.until(lambda: not files_with(service.database.parent, NEEDLE.encode()))
        async with client.get(f"/api/v1/events/{first}") as answer:
            event = await answer.json()
        assert (event["body"], bool(event["erased_at"])) == ("{}", True)


async def test_the_pages_show_that_and_when_the_content_was_erased(service: Service, receiver: Receiver) -> None:
    """In place of the payload; a resend is refused there too."""
    async with api(service) as client:
        service.webhook(receiver.url)
        (event,) = await delivered(service, receiver)
        await post(client, f"/events/{event}/erase", {})
        delivery = service.log()[0]["delivery_id"]
        for path in (f"/events/{event}", f"/deliveries/{delivery}"):
            async with client.get(path) as answer:
                text = await answer.text()
            assert "Its content was erased at" in text
            assert NEEDLE not in text
            assert "Resend</button>" not in text
        status, refused = await post(client, f"/deliveries/{delivery}/resend", {})
        assert (status, "the body is gone" in refused["detail"]) == (409, True)


@pytest.mark.slow
async def test_bodies_go_after_their_time_and_the_log_stays(tmp_path: Path, receiver: Receiver) -> None:
    """`retention.bodies`: by itself, from the files too."""
    service = Service(tmp_path / "log.db")
    service.options["retention"] = {"bodies": "1s"}
    await service.start()
    service.webhook(receiver.url)
    (event,) = await delivered(service, receiver)
    daemon = service.daemon
    assert daemon is not None
    await service.until(lambda: _swept(daemon) and not files_with(tmp_path, NEEDLE.encode()), within=30)
    assert service.read(log.event, event)["erased_at"]
    assert [row["state"] for row in service.log()] == ["succeeded"]
    await service.close()


@pytest.mark.slow
async def test_old_payloads_go_from_an_outbox_s_wal_though_no_body_goes(tmp_path: Path, receiver: Receiver) -> None:
    """The delivery waits for its next attempt, so its body is spared; the producer's row is not needed any more."""
    service = Service(tmp_path / "log.db", tmp_path / "outbox.db")
    service.options["retention"] = {"bodies": "1s"}
    receiver.status = 503
    await service.start()
    service.webhook(receiver.url)
    (event,) = service.insert({"who": NEEDLE})
    await service.until(lambda: service.log(status="503"))
    daemon = service.daemon
    assert daemon is not None
    needle = NEEDLE.encode()
    await service.until(
        lambda: _swept(daemon) and not [path for path in files_with(tmp_path, needle) if "outbox" in str(path)],
        within=30,
    )
    assert files_with(tmp_path, needle)
    assert not service.read(log.event, event)["erased_at"]
    await service.close()


def _swept(daemon: Any) -> bool:
    """Let the next step of the pruner begin a sweep; the first one began before the event was."""
    daemon.pruner._swept = None
    return True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evt_1", "--search", "x"), "an event's id, or --search"),
        ((), "an event's id, or --search"),
        (("evt_1", "--since", "1h"), "--since goes with --search"),
        (("evt_1", "--dry-run", "--yes"), "--dry-run or --yes"),
    ],
)
def test_wrong_usage_is_said(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """Exit 2."""
    service = Service(tmp_path / "log.db")
    service.migrate()
    assert said in shell(service, tmp_path / "shell").ours("event", "erase", *words, code=2)


def test_an_event_that_is_nowhere_is_not_found(tmp_path: Path) -> None:
    """Exit 1, and what to do for one that was rejected or not taken yet."""
    service = Service(tmp_path / "log.db")
    service.migrate()
    said = shell(service, tmp_path / "shell").ours("event", "erase", "evt_none", "--yes", code=1)
    assert "There is no event evt_none." in said


@pytest.mark.long
async def test_an_id_of_several_projects_needs_its_project(service: Service, tmp_path: Path) -> None:
    """Command and API say so; with the project named the other one's is left alone."""
    async with api(service) as client:
        with closing(service.producer()) as producer, producer:
            for project in ("proj_1", "proj_2"):
                producer.execute(
                    "INSERT INTO outbox (event_id, project_id, event_type, payload) VALUES ('twice', ?, 'lead.created', '{\"a\": 1}')",
                    (project,),
                )
        await service.until(
            lambda: service.read(lambda conn: conn.execute("SELECT count(*) FROM events").fetchone()[0]) == 2
        )
        there = shell(service, tmp_path / "shell")
        assert "name one with --project" in await run(there, "event", "erase", "twice", "--yes", code=1)
        assert (await post(client, "/events/twice/erase", {}))[0] == 422
        assert (await post(client, "/events/twice/erase", {"project_id": "proj_2"}))[0] == 202
        erased = [bool(service.read(log.event, "twice", project)["erased_at"]) for project in ("proj_1", "proj_2")]
        assert erased == [False, True]
