"""The database in PostgreSQL and the outbox in an application's own: `database.url` with `outbox.url`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from almirant_webhooks.ops import sealing
from almirant_webhooks.rules.buckets import ALL, bucket_of
from almirant_webhooks.storage.engine import ReadPlan
from almirant_webhooks.storage.mixed import moving
from almirant_webhooks.storage.postgres import worker
from almirant_webhooks.storage.postgres.opening import open_outbox
from almirant_webhooks.storage.postgres.store import OutboxInPostgres

from ...conftest import Receiver
from ...support.daemons import DaemonsApart, project_in
from ...support.postgres import new_database
from ...support.postgres_roles import make_role
from ...support.postgres_service import OutboxApart
from ...support.service import Service

pytestmark = pytest.mark.slow


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[DaemonsApart]:
    """A database, and an outbox in another one, with no daemon yet."""
    there = DaemonsApart(tmp_path)
    there.migrate()
    yield there
    await there.close()


async def test_each_daemon_takes_the_rows_of_its_own_projects(apart: DaemonsApart, receiver: Receiver) -> None:
    """What one has is sent by that one, and what was owned by one that has left is sent by the other."""
    await apart.another()
    leaving = await apart.another()
    shares = await apart.until_shared(32, 32)
    projects = [project_in(share) for share in shares]
    for project in projects:
        apart.webhook(receiver.url, project=project)
        apart.send(project)
    await apart.until(lambda: len(apart.log(state="succeeded")) == 2 and apart.is_marked())
    leaving.terminate()
    assert await leaving.wait() == 0
    for project in projects:
        apart.send(project)
    await apart.until(lambda: len(apart.log(state="succeeded")) == 4 and apart.is_marked())
    assert len(receiver.requests) == 4


@pytest.mark.parametrize("owned", [ALL, frozenset(range(32)), frozenset[int]()], ids=["all", "half", "none"])
def test_rows_of_other_daemons_projects_are_not_read(owned: Collection[int]) -> None:
    """Whoever reads them would begin more at a webhook at a time than it may have."""
    there = new_database()
    projects = [project_in({bucket}) for bucket in (3, 31, 32, 60)]
    for project in projects:
        there.ask("INSERT INTO outbox (project_id, event_type, payload) VALUES (%s, 'a.b', '{}')", project)
    store = OutboxInPostgres(lambda: open_outbox(there.place), patience=60, owned=lambda: owned)
    store.open()
    try:
        read = {row.project for row in store.read(ReadPlan(100))}
    finally:
        store.close()
    assert read == {project for project in projects if bucket_of(project) in owned}


async def test_an_older_dump_of_the_database_does_not_go_on_with_the_outbox(
    apart: DaemonsApart, receiver: Receiver
) -> None:
    """It lacks what was taken since: exit 78, until it has adopted the outbox. Then what was taken is looked at again."""
    apart.webhook(receiver.url)
    daemon = await apart.another()
    apart.insert({"n": 1})
    await apart.until(lambda: len(apart.log(state="succeeded")) == 1 and apart.is_marked())
    daemon.terminate()
    await daemon.wait()
    apart.let_go()
    dump = apart.ours.copy()
    daemon = await apart.another()
    apart.insert({"n": 2})
    await apart.until(lambda: len(apart.log(state="succeeded")) == 2 and apart.is_marked())
    daemon.terminate()
    await daemon.wait()
    apart.ours = dump
    shell = apart.shell()
    assert "restored from a backup" in shell.ours("serve", code=78)
    shell.ours("migrate", "--adopt-outbox", "--since", "1h")
    await apart.another()
    await apart.until(lambda: len(apart.log(state="succeeded")) == 2 and apart.is_marked())
    assert [json.loads(request.body)["data"] for request in receiver.requests] == [{"n": 1}, {"n": 2}, {"n": 2}]


async def test_what_the_outbox_s_server_does_stops_no_delivery_of_what_the_database_has(
    apart: DaemonsApart, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While nobody may connect to the outbox's database, `/readyz` says so, and resends go out."""
    monkeypatch.setattr(worker, "RETRY", 0.05)
    apart.webhook(receiver.url)
    daemon = await apart.start(migrating=False)
    apart.insert({"n": 1})
    await apart.until(lambda: apart.is_marked() and len(apart.log(state="succeeded")) == 1)
    with apart.there.server.connect(autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {apart.there.database} ALLOW_CONNECTIONS false")
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [apart.there.database]
        )
        await apart.until(lambda: daemon.not_ready() is not None)
        assert apart.resend(apart.log()[0]["delivery_id"])
        await apart.until(lambda: len(receiver.requests) == 2)
        conn.execute(f"ALTER DATABASE {apart.there.database} ALLOW_CONNECTIONS true")
    apart.insert({"n": 2})
    await apart.until(lambda: len(receiver.requests) == 3 and apart.is_marked())
    await apart.until(lambda: daemon.not_ready() is None)


def test_a_database_s_own_outbox_is_none_of_another_place(tmp_path: Path, apart: DaemonsApart) -> None:
    """The database itself in both keys, or another database of ours in `outbox.url`, is exit 78 and a sentence."""
    shell = apart.shell()
    kept = shell.config.read_text()
    shell.config.write_text(kept.replace(apart.url, apart.ours.url))
    assert "Leave outbox.url out" in shell.ours("check-config", code=78)
    other = OutboxApart(tmp_path, new_database())
    shell.config.write_text(kept.replace(apart.url, other.ours.url))
    for command in ("serve", "migrate", "doctor"):
        assert "has a whole database" in shell.ours(command, code=1 if command == "doctor" else 78)


def test_rows_in_the_database_s_own_outbox_are_told_of(apart: DaemonsApart) -> None:
    """Nobody reads them while `outbox.url` names another one."""
    apart.ours.ask("INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', '{}')")
    assert "There are rows in the outbox of the database itself" in apart.shell().ours("doctor", code=1)


def test_a_producer_s_role_is_granted_its_rights_where_the_outbox_is(apart: DaemonsApart) -> None:
    """And none in the database."""
    role = make_role(apart.there, "shop")
    apart.shell().ours("migrate", "--producer", role)
    granted = "SELECT has_any_column_privilege(%s, 'almirant_webhooks.outbox', 'INSERT')"
    assert (apart.there.ask(granted, role), apart.ours.ask(granted, role)) == ([(True,)], [(False,)])


def test_a_token_is_shown_though_the_outbox_cannot_be_made(apart: DaemonsApart, tmp_path: Path) -> None:
    """It is shown once: so the outbox is made first, and nothing of the database before."""
    empty = OutboxApart(tmp_path, new_database(with_outbox=False))
    empty.ours = new_database(with_outbox=False)
    empty.url = empty.there.server.url("no_such_database")
    shell = empty.shell()
    assert "no_such_database" in shell.ours("migrate", code=1)
    assert empty.ours.ask("SELECT to_regnamespace('almirant_webhooks')") == [(None,)]


async def test_marks_of_daemons_wait_for_each_other(apart: DaemonsApart, receiver: Receiver) -> None:
    """The number of the last batch is one row for all of them: whoever commits it first is waited for, and no row is refused."""
    daemon = await apart.start(migrating=False)
    apart.webhook(receiver.url)
    with apart.there.connect() as other:
        other.execute("UPDATE outbox_meta SET batch = batch")
        apart.insert({"n": 1})
        await apart.until(lambda: len(apart.log(state="succeeded")) == 1)
        await apart.until(lambda: daemon.loop.reader.has_marks)
    await apart.until(apart.is_marked)
    assert not daemon.loop.reader.refused.rows()


async def test_a_file_moves_beside_an_outbox_in_an_application_s_database(
    tmp_path: Path, apart: DaemonsApart, receiver: Receiver
) -> None:
    """Rows that wait in the file are refused, as nobody would read them; afterwards the outbox is adopted."""
    source = Service(tmp_path / "from.db")
    source.migrate()
    source.webhook(receiver.url)
    source.insert({"n": 1})
    shell = apart.shell()
    words = shell.ours("migrate", "--from", str(source.database), code=1)
    assert "rows wait in its outbox" in words
    await source.start()
    await source.until(lambda: len(source.log(state="succeeded")) == 1)
    await source.stop()
    shell.ours("migrate", "--from", str(source.database))
    await apart.another()
    apart.insert({"n": 2})
    await apart.until(lambda: len(apart.log(state="succeeded")) == 2)


def test_moving_is_told_where_the_outbox_is(tmp_path: Path) -> None:
    """A file whose outbox is empty moves, whatever `outbox.url` names."""
    source = Service(tmp_path / "from.db")
    source.migrate()
    said: list[str] = []
    there = new_database(with_outbox=False)
    seals = sealing.beside(tmp_path / "key")
    moving.move(source.database, there.place, sealing.beside(source.database), seals, lambda *_: None, said.append, is_outbox_apart=True)  # fmt: skip
    assert "rows copied and compared" in "".join(said)
