"""The producers of docs/producers/postgres, each as it stands, by a role that has the rights of a producer and no others."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from ..conftest import Receiver
from ..support import needs
from ..support.postgres import new_database
from ..support.postgres_roles import Application, make_role
from ..support.postgres_service import PostgresService

FOLDER = Path(__file__).parents[2] / "docs" / "producers" / "postgres"
PACKAGE = Path(__file__).parents[1] / "producers" / "postgres" / "package.json"
SLOW = [pytest.mark.slow, pytest.mark.timeout(600)]


def psql(script: str) -> list[str]:
    return [needs.program("psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", str(FOLDER / script)]


def node(folder: Path) -> list[str]:
    """The Node.js producer with its library installed."""
    program, npm = needs.program("node"), needs.program("npm")
    for file in (PACKAGE, FOLDER / "with_node.mjs"):
        shutil.copy(file, folder)
    install = [npm, "install", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=200)
    return [program, str(folder / "with_node.mjs")]


def go(folder: Path) -> list[str]:
    """Go's, built with the library that it pins."""
    shutil.copytree(FOLDER / "with_go", folder / "with_go")
    build = [needs.program("go"), "build", "-mod=readonly", "-o", str(folder / "producer"), "."]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "TMPDIR": str(folder)}
    done = subprocess.run(build, cwd=folder / "with_go", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [str(folder / "producer")]


@pytest.fixture(
    params=[
        "insert.sql",
        "with_psycopg.py",
        *(
            pytest.param(name, marks=SLOW)
            for name in ("with_sqlalchemy.py", "with_django.py", "with_node.mjs", "with_go")
        ),
    ]
)
def producer(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command of each producer, without the URL."""
    name = str(request.param)
    if name == "with_node.mjs":
        return node(tmp_path)
    if name == "with_go":
        return go(tmp_path)
    return psql(name) if name.endswith(".sql") else [sys.executable, str(FOLDER / name)]


def run(*command: str) -> str:
    """Run it; return what it said, which is nothing unless it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode == 0) == (done.stdout + done.stderr == ""), done.stdout + done.stderr
    return done.stderr


@pytest.fixture
def shop() -> Application:
    return Application(new_database())


@pytest.mark.long
def test_a_producer_of_the_guide_inserts_with_its_business_change_and_once(
    shop: Application, producer: list[str]
) -> None:
    """Run twice, the event is there once and each run's own change is; where the COMMIT fails, neither is."""
    for _ in range(2):
        assert run(*producer, shop.url) == ""
    ((project_id, event_type, payload, event_id),) = shop.events()
    assert (project_id, event_type, event_id) == ("proj_1", "lead.created", "lead-52-created")
    assert json.loads(payload) == {"lead": {"id": "lead_52"}}
    assert shop.orders() == ["boots", "boots"]
    shop.forget_events()
    shop.refuse_commits()
    assert "the shop is closed" in run(*producer, shop.url)
    assert (shop.events(), shop.orders()) == ([], ["boots", "boots"])


@pytest.mark.long
async def test_an_event_of_a_producer_of_the_guide_is_delivered(
    tmp_path: Path, receiver: Receiver, shop: Application
) -> None:
    """Once, however often the program runs."""
    service = PostgresService(tmp_path / "log.db", shop.outbox)
    try:
        await service.start()
        service.webhook(receiver.url)
        for _ in range(2):
            assert await asyncio.to_thread(run, *psql("insert.sql"), shop.url) == ""
        await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
        assert json.loads(receiver.requests[0].body)["data"] == {"lead": {"id": "lead_52"}}
        assert len(receiver.requests) == 1
    finally:
        await service.close()


@pytest.mark.long
def test_the_guide_s_trigger_tells_of_whatever_is_written_to_its_table(shop: Application) -> None:
    """By a role too that has no right on the outbox; with the keys in their order; and nobody else can use its function."""
    assert run(*psql("trigger.sql"), shop.url) == ""
    assert run(*psql("trigger.sql"), shop.url) == "", "it can be run again"
    clerk = make_role(shop.outbox, "clerk")
    shop.outbox.ask(f"GRANT INSERT ON orders TO {clerk}")
    shop.outbox.ask(f"GRANT CREATE ON SCHEMA public TO {clerk}")
    with shop.outbox.connect(clerk) as conn:
        conn.execute("INSERT INTO orders (item) VALUES ('boots'), ('gloves')")
        conn.commit()
        conn.execute("INSERT INTO orders (item) VALUES ('hat')")
        conn.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("INSERT INTO almirant_webhooks.outbox DEFAULT VALUES")
        conn.rollback()
        conn.execute("CREATE TABLE mine (id bigint, item text)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION public.tell_of_order()")
        conn.rollback()
    assert [(event[3], event[2].replace(" ", "")) for event in shop.events()] == [
        ("order-1-created", '{"lead":{"id":1,"item":"boots"}}'),
        ("order-2-created", '{"lead":{"id":2,"item":"gloves"}}'),
    ]


@pytest.mark.long
def test_an_orm_that_asks_for_the_new_row_s_key_can_insert(shop: Application) -> None:
    """SQLAlchemy's own INSERT of a mapped class of the columns that are a producer's."""
    engine = sa.create_engine(sa.make_url(shop.url).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool)

    class Base(DeclarativeBase):
        pass

    class Event(Base):
        __tablename__, __table_args__ = "outbox", {"schema": "almirant_webhooks"}
        id: Mapped[int] = mapped_column(primary_key=True)
        event_id: Mapped[str]
        project_id: Mapped[str]
        event_type: Mapped[str]
        payload: Mapped[str]

    with Session(engine) as session, session.begin():
        event = Event(project_id="proj_1", event_type="lead.created", payload="{}", event_id="by-an-orm")
        session.add(event)
        session.flush()
        assert event.id == 1
    engine.dispose()
    assert [event[3] for event in shop.events()] == ["by-an-orm"]
