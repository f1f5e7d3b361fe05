"""An application's triggers on the outbox, which run inside the daemon's marks: one that fails is named, and stops nothing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from almirant_webhooks.delivery import unmarked

from ..cli.test_doctor import findings
from ..conftest import Receiver
from ..support.service import Service
from ..support.shell import Shell

pytestmark = pytest.mark.sqlite

UNREAD = "SELECT json_extract(payload, '$.n') FROM outbox WHERE fanned_out_at IS NULL ORDER BY id"
REFUSES_A_ROW = {
    "raises": "SELECT RAISE(ABORT, 'rows are final')",
    "ignores": "SELECT RAISE(IGNORE)",
    "breaks a rule of another table": "INSERT INTO outbox_meta (id, schema_version) VALUES (2, 1)",
}
# What SQLite cannot prepare fails with every row, whatever its WHEN says.
REFUSES_ALL = REFUSES_A_ROW | {
    "needs a table that is gone": "INSERT INTO gone VALUES (NEW.id)",
    "needs a function of the application": "SELECT app_log(NEW.id)",
}


def unread(service: Service) -> list[int]:
    with closing(service.producer()) as conn:
        return [row[0] for row in conn.execute(UNREAD)]


def arrived(receiver: Receiver) -> list[int]:
    return sorted(json.loads(request.body)["data"]["n"] for request in receiver.requests)


def make_trigger(service: Service, body: str, when: str = "1") -> None:
    conn = service.producer()
    conn.execute(f"CREATE TRIGGER keep_history BEFORE UPDATE ON outbox WHEN {when} BEGIN {body}; END")
    conn.commit()
    conn.close()


@pytest.mark.parametrize("body", REFUSES_A_ROW.values(), ids=REFUSES_A_ROW)
async def test_a_row_that_a_trigger_refuses_to_have_marked_stops_no_other(
    service_anywhere: Service, receiver: Receiver, body: str
) -> None:
    """Its event is sent once, the log names the trigger, and the row is marked once the trigger is gone."""
    service = service_anywhere
    service.migrate()
    make_trigger(service, body, "NEW.project_id = 'odd'")
    daemon = await service.start()
    for project in ("proj_1", "odd"):
        service.webhook(receiver.url, project=project)
    with capture_logs() as lines:
        service.insert({"n": 1}, project="odd")
        service.insert({"n": 2}, {"n": 3})
        await service.until(lambda: len(service.log(state="succeeded")) == 3 and unread(service) == [1])
        service.insert({"n": 4})
        await service.until(lambda: len(service.log(state="succeeded")) == 4 and unread(service) == [1])
        await service.until(lambda: daemon.loop.reader.refused.rows())
    assert arrived(receiver) == [1, 2, 3, 4]
    assert not daemon.not_ready()
    (said,) = [line["why"] for line in lines if line["event"] == "rows cannot be marked"]
    assert "a trigger of the application on outbox (keep_history)" in said
    service.ask("DROP TRIGGER keep_history")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unmarked, "RETRY", 0.0)
        await service.until(lambda: unread(service) == [])
    assert arrived(receiver) == [1, 2, 3, 4]


async def test_a_poll_that_finds_only_rows_that_are_refused_writes_nothing(
    service: Service, receiver: Receiver
) -> None:
    """Also while another program holds the file's lock; what comes behind such rows is taken as ever."""
    service.migrate()
    make_trigger(service, "SELECT RAISE(ABORT, 'rows are final')", "NEW.project_id = 'odd'")
    daemon = await service.start()
    loop = daemon.loop
    service.webhook(receiver.url)
    service.insert({"n": 1}, project="odd")
    await service.until(lambda: loop.reader.refused.rows() and not loop.reader.may_have_rows)
    statements: list[str] = []

    def poll(conn: sqlite3.Connection) -> None:
        loop.reader.force_read()
        conn.set_trace_callback(statements.append)
        loop.step(conn)
        conn.set_trace_callback(None)

    with closing(service.producer()) as other:
        other.execute("BEGIN IMMEDIATE")
        while not any("outbox" in statement for statement in statements):
            await loop.worker.run(poll)
        other.execute("ROLLBACK")
    assert not [statement for statement in statements if statement.startswith(("BEGIN", "UPDATE"))]
    assert not daemon.not_ready()
    service.insert({"n": 2})
    await service.until(lambda: arrived(receiver) == [2])
    assert unread(service) == [1]


@pytest.mark.long
@pytest.mark.parametrize("body", REFUSES_ALL.values(), ids=REFUSES_ALL)
async def test_a_trigger_that_refuses_every_mark_is_told_of(
    service_anywhere: Service, receiver: Receiver, body: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By readiness beside too many such rows, and by `doctor`, with what to do; each event is sent once."""
    service = service_anywhere
    monkeypatch.setattr(unmarked, "MOST", 3)
    service.migrate()
    make_trigger(service, body)
    daemon = await service.start()
    service.webhook(receiver.url)
    service.insert(*({"n": number} for number in range(3)))
    await service.until(daemon.not_ready)
    words = "a trigger of the application on outbox (keep_history)"
    assert f"cannot fan out: {words}" in (daemon.not_ready() or "")
    await service.until(lambda: arrived(receiver) == [0, 1, 2])
    shell = service.shell(tmp_path)
    shell.config.write_text(shell.config.read_text() + f"[outbox]\npath = {json.dumps(str(service.outbox or ''))}\n")
    result, said = findings(shell, 1)["producers"]
    assert (result, f"The daemon cannot mark a row of the outbox: {words}" in said) == ("wrong", True), said
    assert "mend that trigger, or drop it" in said
    service.ask("DROP TRIGGER keep_history")
    monkeypatch.setattr(unmarked, "RETRY", 0.0)
    await service.until(lambda: unread(service) == [] and not daemon.not_ready())
    assert arrived(receiver) == [0, 1, 2]


def test_a_trigger_that_refuses_an_insert_is_named_to_whoever_sends(shell: Shell) -> None:
    """By the command too, whose words were that the database is of another release."""
    service = Service(shell.folder / "log.db")
    service.ask("CREATE TRIGGER count_them AFTER INSERT ON outbox BEGIN INSERT INTO gone VALUES (NEW.id); END")
    said = shell.ours("event", "send", "--project", "p", "--type", "a.b", "--data", "{}", code=1)
    assert "a trigger of the application on outbox (count_them) fails: no such table: main.gone" in said
