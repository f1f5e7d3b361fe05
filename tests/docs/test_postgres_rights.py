"""The statements of docs/producers-postgres.md that grant rights, run as they stand but for the names of the roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from almirant_webhooks.storage.postgres.scripts import outbox_sql

from ..conftest import Receiver
from ..support.postgres import new_database
from ..support.postgres_roles import Application, grants, make_daemon_role, make_role
from ..support.postgres_service import PostgresService, shell_of

pytestmark = pytest.mark.long

INSERT = "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (%s, 'a.b', '{}', %s)"
ONCE = f"{INSERT} ON CONFLICT (project_id, event_id) DO NOTHING RETURNING id"


def test_a_producer_s_rights_by_hand_are_those_of_the_command() -> None:
    """Column by column."""
    shop = Application(new_database())
    by_hand = make_role(shop.outbox, "shop")
    shop.outbox.ask(grants("producer", shop=by_hand))
    query = """
        SELECT column_name, privilege_type FROM information_schema.column_privileges
        WHERE table_schema = 'almirant_webhooks' AND grantee = %s ORDER BY 1, 2"""
    rights = shop.outbox.ask(query, by_hand)
    assert len(rights) == 8
    assert shop.outbox.ask(query, shop.role) == rights


def test_row_level_security_bounds_a_producer_to_its_project() -> None:
    """It inserts there, once if it wants, and sees the ids of that project alone; the daemon sees and marks every row."""
    shop = Application(new_database())
    daemon = make_daemon_role(shop.outbox)
    with shop.connect() as conn:
        conn.execute(INSERT, ["proj_2", "before"])
    shop.outbox.ask(grants("policies", shop=shop.role, almirant_webhooks=daemon))
    with shop.connect() as conn:
        assert conn.execute(f"{INSERT} RETURNING id, event_id", ["proj_1", "mine"]).fetchone() == (2, "mine")
        assert conn.execute(ONCE, ["proj_1", "mine"]).fetchall() == []
        assert conn.execute("SELECT project_id, event_id FROM outbox").fetchall() == [("proj_1", "mine")]
        conn.commit()
        for statement in (INSERT, ONCE):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                conn.execute(statement, ["proj_2", "theirs"])
            conn.rollback()
    with shop.outbox.connect(daemon) as conn:
        assert conn.execute("UPDATE outbox SET fanned_out_at = now() WHERE payload = '{}'").rowcount == 2


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[PostgresService]:
    there = PostgresService(tmp_path / "log.db", new_database(with_outbox=False))
    yield there
    await there.close()


@pytest.mark.slow
async def test_the_daemon_works_in_tables_of_the_application_s_owner_by_what_it_is_granted(
    service: PostgresService, receiver: Receiver, tmp_path: Path
) -> None:
    """Each command and the daemon, by a role that is no superuser and owns nothing; producers are granted by the owner."""
    outbox = service.there
    owner = make_role(outbox, "owner")
    outbox.ask(f"GRANT CREATE ON DATABASE {outbox.database} TO {owner}")
    with outbox.connect(owner) as conn:
        conn.execute(outbox_sql())
    daemon, producer = make_daemon_role(outbox), make_role(outbox, "producer")
    outbox.url = outbox.server.url(outbox.database, daemon)
    shell = shell_of(tmp_path, outbox)
    shell.ours("migrate")
    assert f"the role {daemon} may not hand on rights" in shell.ours("migrate", "--producer", producer, code=78)
    shop = Application(outbox)
    await service.start(migrating=False)
    service.webhook(receiver.url)
    with shop.connect() as conn:
        conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')")
    await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
    shell.ours("event", "send", "--project", "proj_1", "--type", "lead.created", "--data", "{}", "--id", "sent")
    await service.until(lambda: service.states() == [("succeeded", 1)] * 2 and service.is_marked())
    await service.stop()
    shell.ours("event", "erase", "sent", "--yes")
    shell.ours("prune")
    shell.ours("stats")
    words = shell.ours("doctor", code=1)  # no daemon runs
    assert "An INSERT into the outbox works" in words
    assert "The daemon cannot mark" not in words
