"""The main job, end to end: an INSERT becomes a signed POST with a logged attempt."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from almirant_webhooks import clock, verify
from almirant_webhooks.daemon import Daemon
from almirant_webhooks.model import Misconfigured, Refused
from almirant_webhooks.storage.sql import webhooks
from almirant_webhooks.storage.sqlite.migrate import adopt_outbox

from .conftest import Receiver
from .support.service import SECRET, Service


async def test_an_insert_becomes_a_signed_post_with_a_logged_attempt(
    service_anywhere: Service, receiver: Receiver
) -> None:
    """The same with the outbox in every place: bytes, headers, log row and mark are those of the contract."""
    service = service_anywhere
    await service.start()
    webhook = service.webhook(receiver.url)
    payload = '{"b": 1.50,  "a": "\\u00e9é😀", "n": 1e2}'
    (event_id,) = service.insert(payload)
    await service.until(lambda: service.log(state="succeeded"))

    (request,) = receiver.requests
    occurred_at = json.loads(request.body)["timestamp"]
    assert request.body.decode() == (
        f'{{"id": "{event_id}", "type": "work_item.created", "timestamp": "{occurred_at}", '
        f'"projectId": "proj_1", "data": {payload}}}'
    )
    assert verify.verify_almirant(request.body, request.headers["X-Almirant-Signature"], SECRET)
    assert verify.verify_standard(request.body, request.headers, SECRET)
    (row,) = service.log()
    assert (row["webhook_id"], row["status"], row["attempts"], row["tries"]) == (webhook.id, "200", 1, 1)
    detail = service.detail(row["delivery_id"])
    sent = dict(detail["attempt_list"][0]["request_headers"])
    assert sent == request.headers
    assert detail["attempt_list"][0]["response_body"] == "thanks"
    marked = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NOT NULL"
    await service.until(lambda: service.ask(marked)[0] == 1)


async def test_the_application_s_own_tables_and_settings_are_left_alone(
    service_anywhere: Service, receiver: Receiver
) -> None:
    """In a file that has tables of others only `outbox` and `outbox_meta` are added and written."""
    service = service_anywhere
    if service.outbox is None or not service.outbox.exists():
        service.migrate()
    conn = service.producer()
    conn.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT)")
    before = [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "journal_mode")]
    await service.start()
    service.webhook(receiver.url)
    with conn:
        conn.execute("INSERT INTO orders (item) VALUES ('boots')")
        conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')")
    conn.execute("BEGIN")
    conn.execute("INSERT INTO orders (item) VALUES ('gloves')")
    conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.updated', '{}')")
    conn.rollback()
    await service.until(lambda: receiver.requests)
    await service.stop()
    assert [request.headers["X-Almirant-Event"] for request in receiver.requests] == ["lead.created"]
    assert [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "journal_mode")] == before
    assert conn.execute("SELECT item FROM orders").fetchall() == [("boots",)]
    conn.close()


@pytest.mark.long
async def test_rows_inserted_while_the_daemon_is_down_are_sent_at_its_start(
    service: Service, receiver: Receiver
) -> None:
    """Ten thousand rows of one transaction all arrive, each once."""
    service.migrate()
    service.webhook(receiver.url)
    ids = service.insert(*({"n": number} for number in range(10_000)))
    service.options["delivery"] = {"concurrency_per_webhook": 64}
    await service.start()
    await service.until(lambda: len(receiver.requests) >= 10_000, within=240)
    assert sorted(json.loads(request.body)["id"] for request in receiver.requests) == sorted(ids)


async def test_an_event_goes_once_to_each_webhook_that_wants_it(service: Service, receiver: Receiver) -> None:
    """Several matching subscriptions make one delivery; other projects and types get none; nothing matching: unmatched."""
    await service.start()
    both = service.webhook(receiver.url, "work_item.*", "work_item.created", "*")
    service.webhook(receiver.url, "lead.*")
    service.webhook(receiver.url, "*", project="proj_2")
    service.insert()
    service.insert(project="proj_3")
    await service.until(lambda: service.log(state="succeeded"))
    await service.until(
        lambda: service.read(lambda conn: conn.execute("SELECT sum(unmatched) FROM events").fetchone()[0])
    )
    assert [row["webhook_id"] for row in service.log()] == [both.id]


async def test_a_broken_row_is_rejected_with_a_reason_and_the_others_flow(
    service_anywhere: Service, receiver: Receiver
) -> None:
    """Bytes that are not UTF-8, and rows of a producer that switched the checks off, do not stop the rest."""
    service = service_anywhere
    await service.start()
    service.webhook(receiver.url)
    conn = service.producer()
    insert = "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, ?, CAST(? AS TEXT))"
    with conn:
        conn.execute(insert, ("proj_1", "lead.created", b'{"a": "\xff"}'))
        conn.execute("PRAGMA ignore_check_constraints=ON")
        conn.execute(insert, ("proj_1", "lead.created", b'{"a": "' + b"x" * 300_000 + b'"}'))
        conn.execute(insert, ("proj_1", "lead.created", b'{"a": 1}\0{'))
        conn.execute(insert, ("proj 1", "lead.created", b"{}"))
        conn.execute(insert, ("proj_1", "Lead", b"{}"))
        conn.execute(insert, ("proj_1", "lead.created", b"[1]"))
        conn.execute(insert, ("proj_1", "lead.updated", b"{}"))
    await service.until(lambda: receiver.requests)
    reasons = "SELECT rejected_reason FROM outbox WHERE rejected_reason IS NOT NULL ORDER BY id"
    await service.until(lambda: len(conn.execute(reasons).fetchall()) == 6)
    assert [row[0].split(" (")[0] for row in conn.execute(reasons)] == [
        "payload is not UTF-8",
        "payload is larger than 256 KiB",
        "payload contains a NUL character",
        "project_id must be 1 to 128 printable ASCII characters without spaces",
        "event_type must be dotted lower-case words, at most 128 characters",
        "payload is not a JSON object",
    ]
    conn.close()


@pytest.mark.sqlite
async def test_an_event_id_is_remembered(service: Service, receiver: Receiver) -> None:
    """INSERT OR REPLACE over a taken row: the same content is a duplicate, other content is rejected."""
    await service.start()
    service.webhook(receiver.url)
    conn = service.producer()
    replace = "INSERT OR REPLACE INTO outbox (project_id, event_type, payload, event_id) VALUES ('proj_1', 'lead.created', ?, 'e1')"
    state = "SELECT fanned_out_at IS NOT NULL, rejected_reason IS NOT NULL FROM outbox WHERE event_id = 'e1'"
    for payload, expected in (('{"a": 1}', (1, 0)), ('{"a": 1}', (1, 0)), ('{"a": 2}', (0, 1))):
        with conn:
            conn.execute(replace, (payload,))
        await service.until(lambda expected=expected: conn.execute(state).fetchone() == expected)  # type: ignore[misc]
    await service.until(lambda: service.log(state="succeeded"))
    assert len(receiver.requests) == 1
    conn.close()


@pytest.mark.sqlite
async def test_a_rejected_row_is_tried_again_when_its_reason_is_cleared(service: Service, receiver: Receiver) -> None:
    """Mended and set back to NULL, the row flows like any other."""
    await service.start()
    service.webhook(receiver.url)
    conn = service.producer()
    with conn:
        conn.execute("PRAGMA ignore_check_constraints=ON")
        conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '[]')")
    state = "SELECT rejected_reason, fanned_out_at IS NOT NULL FROM outbox"
    await service.until(lambda: conn.execute(state).fetchone() == ("payload is not a JSON object", 0))
    with conn:
        conn.execute("UPDATE outbox SET payload = '{\"n\": 1}', rejected_reason = NULL")
    await service.until(lambda: service.log(state="succeeded"))
    await service.until(lambda: conn.execute(state).fetchone() == (None, 1))
    assert [json.loads(request.body)["data"] for request in receiver.requests] == [{"n": 1}]
    conn.close()


@pytest.mark.sqlite
async def test_a_second_daemon_on_the_same_database_exits(service: Service, tmp_path: object) -> None:
    """Also when it is named by a symlink."""
    await service.start()
    link = service.database.with_name("link.db")
    link.symlink_to(service.database)
    other = Service(link)
    with pytest.raises(Refused, match="Another daemon"):
        await Daemon(other.settings()).start()


async def test_health_pages_answer_and_name_no_project(service: Service, receiver: Receiver) -> None:
    """`/healthz`, `/readyz` and `/metrics` are open; no project and no URL is in them."""
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    assert daemon.address is not None
    base = f"http://127.0.0.1:{daemon.address[1]}"
    async with ClientSession() as session:
        for path in ("/healthz", "/readyz"):
            async with session.get(base + path) as response:
                assert response.status == 200
        # Counted once it is committed: the log can have it before.
        await service.until(lambda: b'almirant_webhooks_attempts_total{outcome="success"} 1.0' in daemon.metrics.page())
        async with session.get(base + "/metrics") as response:
            page = await response.text()
    assert 'almirant_webhooks_attempts_total{outcome="success"} 1.0' in page
    assert "proj_1" not in page
    assert "127.0.0.1" not in page


async def test_a_port_in_use_is_a_sentence(service: Service) -> None:
    """The address is named, and nothing stays open."""
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    service.options["admin"] = {"listen": f"127.0.0.1:{port}"}
    service.migrate()
    with pytest.raises(Refused, match=str(port)):
        await Daemon(service.settings()).start()
    taken.close()
    service.options["admin"] = {"listen": ""}
    await service.start()


async def test_a_stop_lets_what_is_in_flight_finish(service: Service, receiver: Receiver) -> None:
    """The answer that comes during the stop is recorded; nothing new is claimed."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slowly(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response(text="late")

    receiver.answer = slowly
    await service.start()
    service.webhook(receiver.url)
    service.insert()
    await arrived.wait()
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0)
    release.set()
    await stopping
    assert [row["state"] for row in service.log()] == ["succeeded"]


async def _hold_a_batch(service: Service, daemon: Daemon) -> sqlite3.Connection:
    """Insert an event whose batch waits for the lock of the database's file; return the connection that holds it."""
    await service.until_upkeep_rests()
    other = sqlite3.connect(service.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    service.insert()
    await service.until(lambda: daemon.loop.is_writing)
    return other


async def test_a_stop_while_attempts_begin_lets_them_finish(tmp_path: Path, receiver: Receiver) -> None:
    """A batch that waits for the file's lock begins its attempts after the stop: they are sent, recorded and marked."""
    service = Service(tmp_path / "log.db", tmp_path / "outbox.db")
    daemon = await service.start()
    service.webhook(receiver.url)
    other = await _hold_a_batch(service, daemon)
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0)
    other.rollback()
    await stopping
    other.close()
    assert [(row["state"], row["attempts"]) for row in service.log()] == [("succeeded", 1)]
    unread = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
    assert service.ask(unread) == (0,)


async def test_rows_that_wait_do_not_keep_a_stop_busy(tmp_path: Path, receiver: Receiver) -> None:
    """While it waits for an attempt the loop rests; they stay in the outbox, unread."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slowly(_: web.Request) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response()

    receiver.answer = slowly
    service = Service(tmp_path / "log.db", tmp_path / "outbox.db")
    daemon = await service.start()
    service.webhook(receiver.url)
    other = await _hold_a_batch(service, daemon)
    service.insert()
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0)
    other.rollback()
    other.close()
    await arrived.wait()
    laps, has_free_space = 0, daemon.loop._store.has_free_space

    def count() -> bool:
        nonlocal laps
        laps += 1
        return has_free_space()

    daemon.loop._store.has_free_space = count  # type: ignore[method-assign]
    for _ in range(1000):
        await asyncio.sleep(0)
    release.set()
    await stopping
    assert laps < 10
    assert [row["state"] for row in service.log()] == ["succeeded"]
    unread = "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"
    assert service.ask(unread) == (1,)


@pytest.mark.parametrize("journal_mode", ["WAL", "DELETE"])
async def test_an_outbox_that_is_held_up_is_in_no_resend_s_way(
    tmp_path: Path, receiver: Receiver, journal_mode: str
) -> None:
    """While a producer has the outbox locked, what an operator asks for is noticed, and what waits there is taken afterwards."""
    service = Service(tmp_path / "log.db", tmp_path / "application.db")
    service.make_application(journal_mode)
    await service.start()
    webhook = service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: len(service.log(state="succeeded")) == 1)
    producer = sqlite3.connect(service.outbox_file, isolation_level=None)
    producer.execute("BEGIN EXCLUSIVE")
    producer.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')")
    for asked in range(2, 5):
        service.write(webhooks.request_test, webhook.id, "work_item.moved", "{}", clock.now())
        await service.until(lambda: len(service.log(state="succeeded")) == asked, within=20)  # noqa: B023
    kinds = ["work_item.created", *["work_item.moved"] * 3]
    assert [request.headers["X-Almirant-Event"] for request in receiver.requests] == kinds
    producer.execute("COMMIT")
    producer.close()
    await service.until(lambda: len(service.log(state="succeeded")) == 5)
    assert [request.headers["X-Almirant-Event"] for request in receiver.requests] == [*kinds, "lead.created"]


async def test_one_slot_is_enough_for_all(service: Service, receiver: Receiver) -> None:
    """With `delivery.concurrency = 1` deliveries to several webhooks go one after the other, and none is left."""
    service.options["delivery"] = {"concurrency": 1, "concurrency_per_webhook": 1}
    await service.start()
    for number in range(3):
        service.webhook(f"{receiver.url}/{number}")
    service.insert(*({"n": number} for number in range(20)))
    await service.until(lambda: len(service.log(state="succeeded", limit=100)) == 60)
    assert len(receiver.requests) == 60


async def test_a_forced_stop_leaves_the_attempt_to_be_shown_as_interrupted(
    service: Service, receiver: Receiver
) -> None:
    """Asked a second time the daemon goes at once; at its next start the attempt is interrupted and made again."""
    arrived = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    receiver.answer = hang
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert()
    await arrived.wait()
    daemon.end()
    daemon.end()
    await service.stop()
    receiver.answer = None
    await service.start()
    await service.until(lambda: service.log(state="succeeded"))
    (row,) = service.log()
    assert (row["attempts"], row["tries"]) == (2, 1)
    outcomes = [attempt["outcome"] for attempt in service.detail(row["delivery_id"])["attempt_list"]]
    assert outcomes == ["interrupted", "success"]
    bodies = {request.body for request in receiver.requests}
    assert len(bodies) == 1


async def test_a_new_database_beside_a_used_outbox_is_refused(service_anywhere: Service, receiver: Receiver) -> None:
    """It would swallow events: exit 78 and the way out; adopted, it goes on."""
    service = service_anywhere
    if service.outbox is None:  # one file: a new database has a new outbox
        service.outbox = service.database.with_name("outbox.db")
    await service.start()
    await service.stop()
    for path in service.database.parent.glob(service.database.name + "*"):
        path.unlink()
    with pytest.raises(Misconfigured, match="--adopt-outbox"):
        await service.start()
    service.daemon = None
    adopt_outbox(service.database, service.outbox, None)
    await service.start()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    assert len(receiver.requests) == 1


@pytest.mark.sqlite
async def test_an_older_restored_database_is_refused_and_adopting_brings_back_what_it_missed(
    service: Service, receiver: Receiver, tmp_path: object
) -> None:
    """`--since` makes the rows be looked at again; those that the database knows are not sent twice."""
    service.outbox = service.database.with_name("outbox.db")
    begin = clock.now()
    await service.start()
    service.webhook(receiver.url)
    service.insert({"n": 1})
    await service.until(lambda: service.log(state="succeeded"))
    await service.stop()
    backup = service.database.with_name("backup.db")
    conn = sqlite3.connect(service.database)
    conn.execute("VACUUM INTO ?", (str(backup),))
    conn.close()
    await service.start()
    service.insert({"n": 2})
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    await service.stop()
    for path in (service.database, *service.database.parent.glob(service.database.name + "-*")):
        path.unlink(missing_ok=True)
    backup.rename(service.database)
    with pytest.raises(Misconfigured, match="restored from a backup"):
        await service.start()
    service.daemon = None
    assert service.read(lambda conn: conn.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"
    assert adopt_outbox(service.database, service.outbox, begin) == 2
    await service.start()
    await service.until(lambda: len(service.log(state="succeeded")) == 2)
    assert [json.loads(request.body)["data"]["n"] for request in receiver.requests] == [1, 2, 2]


@pytest.mark.long
@pytest.mark.sqlite
async def test_a_file_deleted_under_the_daemon_stops_it(service: Service) -> None:
    """SQLite would go on writing into a file that nobody can open."""
    daemon = await service.start()
    service.database.unlink()
    await daemon.wait()
    service.daemon = None
    with pytest.raises(Misconfigured, match="deleted or replaced"):
        await daemon.stop()


async def test_changes_of_a_webhook_are_used_by_the_next_claim(service: Service, receiver: Receiver) -> None:
    """A new URL and secret count at once; the log keeps the URL of each attempt."""
    await service.start()
    webhook = service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    service.write(webhooks.update, webhook.id, url=receiver.url + "/2", secret="another secret 123", now=clock.now())
    (row,) = service.log()
    assert service.resend(row["delivery_id"])
    await service.until(lambda: len(receiver.requests) == 2)
    assert verify.verify_almirant(
        receiver.requests[1].body, receiver.requests[1].headers["X-Almirant-Signature"], "another secret 123"
    )
    await service.until(lambda: service.log()[0]["attempts"] == 2)
    urls = [attempt["url"] for attempt in service.detail(row["delivery_id"])["attempt_list"]]
    assert urls == [receiver.url, receiver.url + "/2"]


async def test_commits_of_producers_and_admins_are_noticed_without_the_backstop(
    service_anywhere: Service, receiver: Receiver
) -> None:
    """With a poll interval of an hour nothing but noticing brings an event, a new webhook and an enabling through."""
    service = service_anywhere
    service.options["outbox"] = {"poll_interval": "1h"}
    await service.start()
    webhook = service.webhook(receiver.url)
    for number in range(3):
        service.insert({"n": number})
        await service.until(lambda number=number: len(service.log(state="succeeded")) == number + 1)  # type: ignore[misc]
    service.write(webhooks.disable, webhook.id, clock.now())
    service.insert({"n": 3})
    await service.until(lambda: service.log(state="held"))
    assert len(receiver.requests) == 3
    service.write(webhooks.enable, webhook.id, discard_held=False, now=clock.now())
    await service.until(lambda: len(service.log(state="succeeded")) == 4)
    assert [json.loads(request.body)["data"]["n"] for request in receiver.requests] == [0, 1, 2, 3]
