"""Producers in any language: what they commit reaches a receiver, what they roll back does not, what is broken is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from ..conftest import Receiver
from ..support import needs
from ..support.service import Service

PRODUCERS = Path(__file__).parents[1] / "producers"
GUIDE = Path(__file__).parents[2] / "docs" / "producers" / "with_node.mjs"
REFUSED = "event_type must be dotted lower-case words such as work_item.created, at most 128 characters"


@pytest.fixture
async def running(service_anywhere: Service, receiver: Receiver) -> Service:
    """A running daemon with a webhook, and a business table beside the outbox."""
    service = service_anywhere
    await service.start()
    service.webhook(receiver.url)
    conn = service.producer()
    conn.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT)")
    conn.close()
    return service


async def arrived(service: Service, receiver: Receiver, producer: str) -> None:
    """Wait for the producer's one event, and hold that nothing else came."""
    await service.until(lambda: service.log(state="succeeded"))
    assert [json.loads(request.body)["data"]["producer"] for request in receiver.requests] == [producer]


async def spawn(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.long
async def test_the_sqlite3_shell(running: Service, receiver: Receiver) -> None:
    """One INSERT at a prompt; a broken one names its rule."""
    shell = needs.program("sqlite3")
    insert = (
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', '{}', '{{\"producer\": \"shell\"}}');"
    )
    file = str(running.outbox_file)
    assert await spawn(shell, "-cmd", ".timeout 10000", file, insert.format("lead.created")) == (0, "")
    code, said = await spawn(shell, "-cmd", ".timeout 10000", file, insert.format("Bad type"))
    assert code != 0
    assert REFUSED in said
    await arrived(running, receiver, "shell")


async def test_python_s_sqlite3_with_business_tables(running: Service, receiver: Receiver) -> None:
    """The event commits and rolls back with the business change that it tells of."""
    insert = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', ?, '{\"producer\": \"python\"}')"
    conn = running.producer()
    with conn:
        conn.execute("INSERT INTO orders (item) VALUES ('boots')")
        conn.execute(insert, ("lead.created",))
    conn.execute("INSERT INTO orders (item) VALUES ('gloves')")
    conn.execute(insert, ("lead.updated",))
    conn.rollback()
    with pytest.raises(sqlite3.IntegrityError, match=REFUSED), conn:
        conn.execute(insert, ("Bad type",))
    await arrived(running, receiver, "python")
    assert conn.execute("SELECT item FROM orders").fetchall() == [("boots",)]
    conn.close()


async def test_sqlalchemy(running: Service, receiver: Receiver) -> None:
    """A reflected table and a unit of work of its own."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(running.outbox_file)), poolclass=sa.NullPool)
    outbox = sa.Table("outbox", sa.MetaData(), autoload_with=engine)
    row = {"project_id": "proj_1", "event_type": "lead.created", "payload": '{"producer": "sqlalchemy"}'}
    with engine.begin() as conn:
        conn.execute(sa.text("INSERT INTO orders (item) VALUES ('boots')"))
        conn.execute(outbox.insert().values(**row))
    with engine.connect() as conn:
        conn.execute(outbox.insert().values(**row))
        conn.rollback()
    with pytest.raises(sa.exc.IntegrityError, match=REFUSED), engine.begin() as conn:
        conn.execute(outbox.insert().values(**{**row, "event_type": "Bad type"}))
    engine.dispose()
    await arrived(running, receiver, "sqlalchemy")


@pytest.fixture(scope="session")
def node_program(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The Node.js producer with its library installed."""
    node, npm = needs.program("node"), needs.program("npm")
    folder = tmp_path_factory.mktemp("producer")
    for name in ("package.json", "insert.js"):
        shutil.copy(PRODUCERS / name, folder / name)
    install = [npm, "install", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=100)
    return node, str(folder / "insert.js")


@pytest.mark.long
async def test_the_guides_node_js_inserts_with_its_business_change_and_once(
    service: Service, receiver: Receiver, node_program: tuple[str, str]
) -> None:
    """As it stands, beside a daemon that runs; run twice, the event goes out once."""
    await service.start()
    service.webhook(receiver.url)
    conn = service.producer()
    conn.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
    conn.close()
    node, installed = node_program
    program = shutil.copy(GUIDE, Path(installed).parent)
    for _ in range(2):
        code, said = await spawn(node, str(program), str(service.database))
        assert (code, said) == (0, "")
    await service.until(lambda: service.log(state="succeeded"))
    conn = service.producer()
    assert conn.execute("SELECT item FROM orders").fetchall() == [("boots",), ("boots",)]
    conn.close()
    assert len(receiver.requests) == 1


@pytest.mark.long
async def test_node_js(running: Service, receiver: Receiver, node_program: tuple[str, str]) -> None:
    """A transaction of another runtime's own SQLite."""
    code, said = await spawn(*node_program, str(running.outbox_file))
    assert code == 0, said
    assert REFUSED in said
    await arrived(running, receiver, "node")
    conn = running.producer()
    assert conn.execute("SELECT item FROM orders").fetchall() == [("boots",)]
    conn.close()
