"""The rights of a producer's role in PostgreSQL: what `migrate --producer` grants, and what is refused to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from almirant_webhooks.model import Misconfigured, NotFound
from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.storage.postgres.connection import connect
from almirant_webhooks.storage.postgres.grants import grant_producer
from almirant_webhooks.storage.postgres.tables import migrate

from ...support.postgres import Outbox, new_database
from ...support.postgres_roles import Application, make_role

INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', '{}')"
REFUSED = [
    "UPDATE outbox SET payload = '{}'",
    "UPDATE outbox SET rejected_reason = NULL",
    "UPDATE outbox SET fanned_out_at = now() WHERE id = 1",
    f"{INSERT} ON CONFLICT (project_id, event_id) DO UPDATE SET payload = '{{}}'",
    "DELETE FROM outbox",
    "DELETE FROM outbox WHERE id = 1",
    "TRUNCATE outbox",
    "SELECT payload FROM outbox",
    "SELECT * FROM outbox",
    "SELECT event_type FROM outbox",
    "SELECT rejected_reason FROM outbox",
    "SELECT id FROM outbox FOR UPDATE",
    "SELECT id FROM outbox WHERE payload LIKE '%'",
    f"{INSERT} RETURNING payload",
    "COPY outbox TO STDOUT",
    "INSERT INTO outbox (project_id, event_type, payload, fanned_out_at) VALUES ('p', 'a.b', '{}', now())",
    "INSERT INTO outbox (project_id, event_type, payload, rejected_reason) VALUES ('p', 'a.b', '{}', 'no')",
    "INSERT INTO outbox (id, project_id, event_type, payload) OVERRIDING SYSTEM VALUE VALUES (0, 'p', 'a.b', '{}')",
    "SELECT * FROM outbox_meta",
    "SELECT schema_version FROM outbox_meta",
    "UPDATE outbox_meta SET batch = 0",
    "DELETE FROM outbox_meta",
    "INSERT INTO outbox_meta (id, schema_version) VALUES (1, 1)",
    "TRUNCATE outbox_meta",
    "SELECT nextval('outbox_id_seq')",
    "SELECT setval('outbox_id_seq', 1)",
    "SELECT last_value FROM outbox_id_seq",
    "CREATE TABLE almirant_webhooks.mine (id bigint)",
    "CREATE FUNCTION almirant_webhooks.mine() RETURNS bigint LANGUAGE sql AS 'SELECT 1'",
    "CREATE INDEX mine ON outbox (payload)",
    "CREATE TRIGGER mine BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE outbox DISABLE TRIGGER USER",
    "ALTER TABLE outbox DROP CONSTRAINT outbox_payload",
    "ALTER TABLE outbox ENABLE ROW LEVEL SECURITY",
    "ALTER SCHEMA almirant_webhooks RENAME TO mine",
    "DROP TABLE outbox",
    "DROP SCHEMA almirant_webhooks CASCADE",
    "CREATE TABLE public.mine (id bigint REFERENCES almirant_webhooks.outbox)",
    "LOCK TABLE outbox IN SHARE MODE",
    "GRANT SELECT ON outbox TO PUBLIC",
    "CREATE OR REPLACE FUNCTION outbox_is_object(payload text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
]


@pytest.fixture(scope="module")
def shop() -> Application:
    return Application(new_database())


@pytest.fixture
def conn(shop: Application) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the producer, whose work is rolled back."""
    with closing(shop.connect()) as conn:
        yield conn


def test_a_producer_may_insert_once_and_learn_the_row_s_number(conn: psycopg.Connection[Any]) -> None:
    """Each of its columns; RETURNING, and ON CONFLICT with and without its columns."""
    (row_id, event_id), *_ = conn.execute(f"{INSERT} RETURNING id, event_id").fetchall()
    every = "INSERT INTO outbox (event_id, project_id, event_type, payload, occurred_at) VALUES (%s, 'p', 'a.b', '{}', now())"
    assert conn.execute(f"{every} RETURNING id", ["mine"]).fetchone() == (row_id + 1,)
    for conflict in ("ON CONFLICT (project_id, event_id) DO NOTHING", "ON CONFLICT DO NOTHING"):
        assert conn.execute(f"{every} {conflict} RETURNING id", [event_id]).fetchall() == []
    with conn.cursor().copy("COPY outbox (project_id, event_type, payload) FROM STDIN") as copy:
        copy.write_row(("p", "a.b", '{"copied": true}'))
    assert conn.execute("SELECT count(*) FROM outbox WHERE project_id = 'p' AND id >= %s", [row_id]).fetchone() == (3,)


@pytest.mark.parametrize("statement", REFUSED)
def test_all_else_is_refused_to_a_producer(conn: psycopg.Connection[Any], statement: str) -> None:
    """By the server: it reads no payload and no answer, changes and deletes nothing, and makes nothing in the schema."""
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType)):
        conn.execute(statement.encode())


def test_a_broken_row_is_refused_to_a_producer_in_the_rule_s_words(conn: psycopg.Connection[Any]) -> None:
    """The functions of the rules run with its rights."""
    with pytest.raises(psycopg.errors.CheckViolation, match="payload must be a JSON object"):
        conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', 'null')")


@pytest.mark.parametrize(
    "name", ['we ird "role"; DROP TABLE outbox; --', "Großbuchstaben", "o'clock", "%s {} \\", "user"]
)
def test_a_role_s_name_is_a_name_whatever_it_looks_like(shop: Application, name: str) -> None:
    """It is quoted; granted again, nothing changes."""
    shop.outbox.ask(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)).as_string(None))
    with shop.outbox.session() as session:
        for _ in range(2):
            (line,) = grant_producer(session, name)
            assert line.endswith(f"the role {name} may insert events")
    with shop.outbox.connect() as conn:
        conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
        conn.execute(INSERT)
        conn.rollback()


@pytest.mark.parametrize("name", ["nobody at all", "", "public", "x" * 70, "\udcff", "a\0b", "postgres; --"])
def test_a_role_that_is_not_there_is_named(shop: Application, name: str) -> None:
    with shop.outbox.session() as session, pytest.raises(NotFound, match="there is no role") as raised:
        grant_producer(session, name)
    assert repr(name) in str(raised.value)


@pytest.mark.parametrize(
    "rights",
    [
        [],
        ["USAGE ON SCHEMA almirant_webhooks"],
        ["USAGE ON SCHEMA almirant_webhooks", "ALL ON almirant_webhooks.outbox, almirant_webhooks.outbox_meta"],
    ],
)
def test_who_may_not_grant_is_told_who_may(shop: Application, rights: list[str]) -> None:
    """And what to run there; whatever it has itself, nothing was granted."""
    daemon, producer = make_role(shop.outbox, "daemon"), make_role(shop.outbox, "producer")
    for right in rights:
        shop.outbox.ask(f"GRANT {right} TO {daemon}")
    with closing(connect(_as(shop.outbox, daemon))) as session, pytest.raises(Misconfigured) as raised:
        grant_producer(session, producer)
    words = str(raised.value)
    assert f"the role {daemon} may not hand on rights on the outbox, which belongs to postgres" in words
    grant = words[words.index("GRANT USAGE") :]
    assert shop.outbox.ask("SELECT has_schema_privilege(%s, 'almirant_webhooks', 'USAGE')", producer) == [(False,)]
    shop.outbox.ask(grant)
    with shop.outbox.connect(producer) as conn:
        conn.execute(f"{INSERT} RETURNING id")
        conn.rollback()


def test_a_role_that_may_do_more_is_said_to(shop: Application) -> None:
    """By what it was granted before, or as a superuser."""
    role = make_role(shop.outbox, "producer")
    shop.outbox.ask(f"GRANT SELECT, DELETE ON almirant_webhooks.outbox TO {role}")
    with shop.outbox.session() as session:
        _, more = grant_producer(session, role)
        assert f"the role {role} may also delete rows, read payloads, which no producer needs" in more
        _, more = grant_producer(session, "postgres")
        assert "change rows, delete rows, read payloads, write the daemon's answers, use outbox_meta, create" in more


def _as(outbox: Outbox, role: str) -> Place:
    url = parse_postgres_url(outbox.server.url(outbox.database, role))
    assert url is not None
    return Place(url, outbox.place.schema)


def test_a_role_that_may_not_make_a_schema_makes_the_tables_in_one_that_it_was_given() -> None:
    """As where an administrator makes the schema, and the daemon's role is no superuser."""
    outbox = new_database(with_outbox=False)
    daemon = make_role(outbox, "daemon")
    outbox.ask(f"CREATE SCHEMA almirant_webhooks AUTHORIZATION {daemon}")
    with closing(connect(_as(outbox, daemon))) as session:
        assert len(migrate(session)) == 1
        assert migrate(session) == []
        grant_producer(session, daemon)
