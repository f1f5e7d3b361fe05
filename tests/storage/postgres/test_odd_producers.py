"""Producers whose sessions, databases or roles have settings of their own: their INSERTs work, and mean the same."""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest

from almirant_webhooks.rules.buckets import bucket_of
from almirant_webhooks.storage.engine import ReadPlan
from almirant_webhooks.storage.postgres import scripts, unread
from almirant_webhooks.storage.postgres.tables import migrate

from ...support.postgres import Outbox, make_older, new_database
from ...support.postgres_roles import Application

pytestmark = pytest.mark.long

# A schema that is looked into before PostgreSQL's own, with functions and operators of its names in it.
SHADOWS = """
CREATE SCHEMA shadows;
CREATE FUNCTION shadows.get_byte(bytea, integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION shadows.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT ''x''::bytea';
CREATE FUNCTION shadows.replace(text, text, text) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION shadows.no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION shadows.seven(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT 7';
CREATE OPERATOR shadows.= (LEFTARG = text, RIGHTARG = text, FUNCTION = shadows.no);
CREATE OPERATOR shadows.% (LEFTARG = integer, RIGHTARG = integer, FUNCTION = shadows.seven);
CREATE DOMAIN shadows.bytea AS text;
GRANT USAGE ON SCHEMA shadows TO PUBLIC;
"""
ODD = {
    "backslashes": "standard_conforming_strings = off",
    "schemas": "search_path = shadows, pg_catalog",
    "times": "datestyle = 'German'",
    "zones": "timezone = 'Asia/Kathmandu'",
    "bytes": "bytea_output = 'escape'",
    "letters": "client_encoding = 'LATIN1'",
    "serializable": "default_transaction_isolation = 'serializable'",
    "repeatable": "default_transaction_isolation = 'repeatable read'",
    "policies": "row_security = off",
    "nulls": "transform_null_equals = on",
    "plans": "enable_seqscan = off",
    "checks": "plpgsql.extra_errors = 'all'",
}
INSERT = (
    "INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload, occurred_at) VALUES (%s, 'a.b', %s, %s)"
)
BROKEN = {
    ("a b", "{}"): "project_id must be 1 to 128 printable ASCII",
    ("p", "[]"): "payload must be a JSON object",
    ("p", "{"): "payload must be a JSON object",
}
PROJECTS = [r"a\b", r"\x41", r"a\\b\'", "p'1"]
PAYLOADS = [r'{"a": "\\ \" \u00e9 é ' '"}', '{"b":  null}']
AT = "2026-11-23T09:00:00.123Z"


def upgraded_outbox() -> Outbox:
    """One that was brought to the present schema."""
    there = make_older(new_database(with_outbox=False))
    with there.session() as session:
        assert migrate(session)
    return there


def check_inserts(there: Outbox, role: str) -> None:
    """Insert as a role of a producer: each row is found by the bucket of its project, as it was given; broken ones are refused."""
    with there.server.connect(there.database, role, autocommit=True) as conn:
        for project in PROJECTS:
            for payload in PAYLOADS:
                conn.execute(INSERT, [project, payload, AT])
        for values, words in BROKEN.items():
            with pytest.raises(psycopg.errors.CheckViolation, match=words):
                conn.execute(INSERT, [*values, AT])
    with there.session() as session:
        for project in PROJECTS:
            ((found, ids),) = unread.line(session, ReadPlan(10), [bucket_of(project)])
            assert found == project
            rows = unread.rows(session, ids)
            assert [(row.payload, row.occurred_at) for row in rows] == [(payload, AT) for payload in PAYLOADS]
            assert all(re.fullmatch("evt_[0-9a-f]{32}", str(row.event_id)) for row in rows)


@pytest.mark.parametrize("make", [new_database, upgraded_outbox], ids=["made", "upgraded"])
@pytest.mark.parametrize("odd", ODD)
def test_an_insert_works_and_means_the_same_whatever_the_producer_has_set(odd: str, make: Callable[[], Outbox]) -> None:
    """The daemons find its rows by their buckets, and a row that breaks a rule is refused in the rule's words."""
    there = make()
    there.ask(SHADOWS)
    shop = Application(there)
    there.ask(f"ALTER ROLE {shop.role} SET {ODD[odd]}")
    check_inserts(there, shop.role)


@pytest.mark.parametrize(
    "odd", sorted(ODD.keys() - {"schemas"})
)  # whoever makes them names functions by his own search_path
def test_the_tables_are_the_same_whatever_the_session_that_makes_them_has_set(odd: str) -> None:
    """As a migration of an application runs what `outbox-sql --postgres` prints."""
    there, plain = new_database(with_outbox=False), new_database(with_outbox=False)
    there.ask(SHADOWS)
    there.ask(f"ALTER DATABASE {there.database} SET {ODD[odd]}")
    for database in (there, plain):
        with database.server.connect(database.database) as conn:
            conn.execute(scripts.outbox_sql().encode())
    there.ask(f"ALTER DATABASE {there.database} RESET {ODD[odd].partition(' ')[0]}")
    assert dump(there) == dump(plain)
    check_inserts(there, Application(there).role)


def dump(there: Outbox) -> str:
    """The definitions of all that is in the schema, as `pg_dump` has them."""
    words = ("-h", there.server.named(there.server.folder), "-U", "postgres", "-n", "almirant_webhooks", "-s")
    dumped = there.server.call("pg_dump", *words, there.database)
    return re.sub(r"^\\(un)?restrict .*\n", "", dumped, flags=re.MULTILINE)  # a word that is another one each time
