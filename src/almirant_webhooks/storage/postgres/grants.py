"""Gives a producer's role its rights on the outbox, and no others (contract, *How these meet*: a producer on PostgreSQL)."""

from __future__ import annotations

from collections.abc import Iterable

from ...model import Misconfigured, NotFound
from ...rules.postgres_urls import Place
from .connection import Session, transaction
from .driver import errors, sql

_INSERTED = ("event_id", "project_id", "event_type", "payload", "occurred_at")
_SEEN = ("id", "project_id", "event_id")  # for RETURNING and ON CONFLICT
_ROLE = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname::text = %s"
_OWNERS = """
SELECT current_user, pg_catalog.pg_get_userbyid(relowner) FROM pg_catalog.pg_class
WHERE relnamespace = to_regnamespace(%s) AND relname = 'outbox'
"""
# A right by its words for people, and what tells whether a role has it.
_NEEDED = [
    "has_schema_privilege(role, schema, 'USAGE')",
    *(f"has_column_privilege(role, 'outbox', '{column}', 'INSERT')" for column in _INSERTED),
    *(f"has_column_privilege(role, 'outbox', '{column}', 'SELECT')" for column in _SEEN),
]
_NOT_NEEDED = {
    "change rows": "has_any_column_privilege(role, 'outbox', 'UPDATE')",
    "delete rows": "has_table_privilege(role, 'outbox', 'DELETE, TRUNCATE')",
    "read payloads": "has_column_privilege(role, 'outbox', 'payload', 'SELECT')",
    "write the daemon's answers": "has_column_privilege(role, 'outbox', 'fanned_out_at', 'INSERT')"
    " OR has_column_privilege(role, 'outbox', 'rejected_reason', 'INSERT')",
    "use outbox_meta": "has_any_column_privilege(role, 'outbox_meta', 'SELECT, INSERT, UPDATE')"
    " OR has_table_privilege(role, 'outbox_meta', 'DELETE, TRUNCATE')",
    "create in the schema": "has_schema_privilege(role, schema, 'CREATE')",
}


def grant_producer(session: Session, role: str) -> list[str]:
    """Grant a role what a producer needs, and nothing else; return what was done, a sentence each.

    It says as well what the role may do beyond that, by other grants. Granted again, nothing changes. Raises `NotFound` for a
    role that is not there, `Misconfigured` without the tables or without the right to grant, and `StorageError`. It is one
    transaction.
    """
    place = session.place
    with transaction(session):
        if not _is_text(role) or not session.run(_ROLE, role):
            raise NotFound(f"{place}: there is no role {role!r}. Name one that is there, or make it with CREATE ROLE.")
        grant = _grant(place, role)
        owners = session.run(_OWNERS, place.schema)
        if not owners:
            raise Misconfigured(f"{place}: there is no table outbox. Make it with `almirant-webhooks migrate`.")
        user, owner = owners[0]
        refusal = Misconfigured(
            f"{place}: the role {user} may not hand on rights on the outbox, which belongs to {owner}. Name {owner} in "
            f"the URL for this command, or let {owner} run: {grant}"
        )
        try:
            session.conn.execute(grant.encode())
        except errors.InsufficientPrivilege:
            raise refusal from None
        # Who has a right and may not hand it on gets a warning from the server, and no error.
        if not all(_has(session, _NEEDED, role)):
            raise refusal
        has_more = _has(session, _NOT_NEEDED.values(), role)
    more = [words for words, has in zip(_NOT_NEEDED, has_more, strict=True) if has]
    lines = [f"{place}: the role {role} may insert events"]
    if more:
        lines.append(
            f"{place}: the role {role} may also {', '.join(more)}, which no producer needs. It is a superuser, owns the tables, "
            "or has further rights of its own, by PUBLIC, or by a role that it is a member of."
        )
    return lines


def _grant(place: Place, role: str) -> str:
    """Return the statements, for people too."""
    inserted, seen = ", ".join(_INSERTED), ", ".join(_SEEN)
    name, schema = sql.Identifier(role).as_string(None), place.schema
    return (
        f"GRANT USAGE ON SCHEMA {schema} TO {name}; "
        f"GRANT INSERT ({inserted}), SELECT ({seen}) ON {schema}.outbox TO {name};"
    )


def _has(session: Session, rights: Iterable[str], role: str) -> list[bool]:
    columns = ", ".join(rights)
    (row,) = session.run(
        f"SELECT {columns} FROM (SELECT %s::name AS role, %s::text AS schema) AS asked", role, session.place.schema
    )
    return [bool(has) for has in row]


def _is_text(role: str) -> bool:
    """Tell whether it can be sent: bytes of a command line may be no text."""
    try:
        return "\0" not in role and bool(role.encode())
    except UnicodeEncodeError:
        return False
