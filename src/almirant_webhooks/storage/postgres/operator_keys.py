"""The operator's token, of which a digest is kept, and the key that signs links, which is sealed: the same for all daemons."""

from __future__ import annotations

import hashlib
import secrets

from ...ops.keys import new_token
from ...ops.sealing import NoKey, Unopenable
from .connection import within
from .database_session import DatabaseSession, NotOurTables

FIELD = "links_key"
_READ = "SELECT token_digest, links_key FROM operator_keys"
_PUT = """
INSERT INTO operator_keys (id, token_digest, links_key) VALUES (1, %s, %s)
ON CONFLICT (id) DO UPDATE SET token_digest = excluded.token_digest, links_key = excluded.links_key
"""
_NO_KEYS = (
    "{what}: the table operator_keys has no row. `almirant-webhooks migrate` makes a new token and a new key of links."
)


def ensure(session: DatabaseSession) -> str | None:
    """Make them unless they are there, inside a transaction; return the token if it was made."""
    return None if session.run(_READ) else rotate(session)


def rotate(session: DatabaseSession) -> str:
    """Put new ones in place of the old, inside a transaction; return the token."""
    token = new_token()
    digest = hashlib.sha256(token.encode()).hexdigest()
    session.run(_PUT, digest, session.seals.seal(secrets.token_hex(32), "", FIELD))
    return token


def read(session: DatabaseSession) -> tuple[str, str]:
    """Return the token's digest and the key. Raises `Unopenable`, and `StorageError`."""
    digest, sealed = _row(session)
    return digest, session.seals.open(sealed, "", FIELD)


def read_again(session: DatabaseSession) -> tuple[str, str | None]:
    """Return the token's digest, and the key, None where no key of the file opens it. Raises `StorageError`."""
    digest, sealed = _row(session)
    try:
        return digest, session.seals.open(sealed, "", FIELD)
    except (NoKey, Unopenable):
        return digest, None


def is_stale(session: DatabaseSession) -> bool:
    """Tell whether the key is sealed with an older key than the newest. Raises `NoKey`, and `StorageError`."""
    _, sealed = _row(session)
    return not session.seals.is_current(sealed)


def reseal(session: DatabaseSession) -> None:
    """Store the key as it is sealed now, inside a transaction."""
    digest, key = read(session)
    session.run(_PUT, digest, session.seals.seal(key, "", FIELD))


def _row(session: DatabaseSession) -> tuple[str, str]:
    with within(session):
        rows = session.run(_READ)
    if not rows:
        raise NotOurTables("operator_keys has no row", _NO_KEYS)
    return rows[0][0], rows[0][1]
