"""Turns the driver's errors into an engine's. No other room sees those of the driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..engine import Busy, Denied, Full, Lost, Slow, StorageError, Unconfirmed
from .driver import Error, errors

_BUSY = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.ObjectInUse,
)
_AWAY = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleInTransactionSessionTimeout,
    errors.IdleSessionTimeout,
)
_TRANSACTION_TIMEOUT = "25P04"  # of PostgreSQL 17; older drivers have no class for it
_NOT_OURS = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction, errors.InvalidSchemaName)


class ServerAway(Lost):
    """The server cannot be reached, or has ended the connection."""

    why = "the connection to PostgreSQL was lost, or could not be made"


class NoAnswer(ServerAway):
    """The server has a statement of ours for longer than we wait."""

    why = "PostgreSQL does not answer: it is too slow, or a trigger on outbox is"


class UnansweredCommit(ServerAway, Unconfirmed):
    """The connection has ended at the COMMIT of a change."""

    def __init__(self, words: str) -> None:
        super().__init__(
            words,
            f"PostgreSQL was lost while a change in {{what}} was committed ({words}): whether it was is not known. "
            "Look before you try again.",
        )


class TooSlow(Slow):
    """A statement has taken longer than it may, and was given up."""

    why = "PostgreSQL takes too long for a statement: it is too slow, or a trigger is"


class TooManyConnections(Lost):
    """The server has no connection left for us."""

    why = "PostgreSQL has too many connections: raise max_connections, or the limit of this role or database"


class NoRoom(Full):
    """The server's disk is full, or its memory."""

    why = "PostgreSQL has no room left on its disk, or no memory"


class ReadOnly(Denied):
    """The server is a standby, or was made read-only."""

    why = "PostgreSQL is read-only here: a standby, or default_transaction_read_only"


class NoRights(Denied):
    """The role lacks a right."""

    why = "the role lacks a right in PostgreSQL"


class BadUrl(Denied):
    """The URL, or the service file that it names, has something that libpq knows nothing of."""

    why = "libpq does not take the URL of PostgreSQL, or its service file"


class NoTables(Denied):
    """The outbox's tables are not there, or are others: `migrate` mends it while the daemon runs."""

    why = "the tables of the outbox in PostgreSQL are not there, or are not those of this release"


# What is said of a connection that no waiting mends, by a server in English or by libpq, and what mends it.
_MENDED_BY = (
    (
        ("too many", "remaining connection slots"),
        "Raise max_connections, or the limit of the role or the database, or end others.",
    ),
    (
        ("pg_hba.conf",),
        "Have its pg_hba.conf let the role in from here; where that asks for TLS, name an sslmode in the URL.",
    ),
    (
        ("Peer authentication", "Ident authentication"),
        "Run it as the system user of the role's name, or name a host and a password.",
    ),
    (("does not support SSL", "certificate"), "See sslmode and sslrootcert in docs/postgresql.md."),
    (("password",), "Mend the password of the role, in the URL, the password file or the service file."),
    (("does not exist",), "Make what is missing, or name another in the URL."),
    (("permission denied for database",), "Let its owner GRANT CONNECT ON DATABASE to the role."),
    (("not permitted to log in",), "Let a superuser ALTER ROLE … LOGIN, or name another role in the URL."),
)
_IN_URL = re.compile(
    r'(^|: )(invalid .*"|definition of service|syntax error in service file|service file ".*" not found)'
)
_GRANT = "Grant it, as docs/postgresql-server.md (Roles) and docs/producers-postgres.md say, or let the owner of the tables do this."


def _refused(words: str) -> str:
    """Return the sentence for a connection that was not made, or has ended."""
    for known, advice in _MENDED_BY:
        if any(word in words for word in known):
            return f"PostgreSQL takes no connection for {{what}} ({words}). {advice}"
    return f"PostgreSQL cannot be reached for {{what}} ({words}). Try again once it is there."


def storage_error(error: Error) -> StorageError:
    """Return an error of the driver as an engine's error, with its text and a sentence for people."""
    other = _storage_error(error, " ".join(str(error).split()))
    other.__cause__ = error
    return other


def _storage_error(error: Error, words: str) -> StorageError:
    if error.sqlstate is None and _IN_URL.search(words):
        return BadUrl(words, f"The URL of {{what}} is not right, or its service file ({words}).")
    if isinstance(error, errors.TooManyConnections):
        return TooManyConnections(words, _refused(words))
    is_ended = isinstance(error, _AWAY) or error.sqlstate == _TRANSACTION_TIMEOUT
    if is_ended or (isinstance(error, errors.OperationalError) and error.sqlstate is None):
        # What libpq says itself: a connection that failed or was cut. The server's own errors have a code.
        kind = TooManyConnections if "too many" in words or "remaining connection slots" in words else ServerAway
        return kind(words, _refused(words))
    if isinstance(error, (errors.DiskFull, errors.OutOfMemory)):
        return NoRoom(words, f"PostgreSQL has no room left for {{what}} ({words}). Nothing was changed; try again.")
    if isinstance(error, (*_BUSY, errors.QueryCanceled)):
        busy = TooSlow if isinstance(error, errors.QueryCanceled) else Busy
        return busy(words, f"{{what}} is locked, or PostgreSQL is too slow ({words}). Nothing was changed; try again.")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return ReadOnly(words, f"{{what}} is read-only ({words}). Name the primary server; see target_session_attrs.")
    if isinstance(error, errors.InsufficientPrivilege):
        return NoRights(words, f"The role of the URL lacks a right in {{what}} ({words}). {_GRANT}")
    if isinstance(error, _NOT_OURS):
        return NoTables(
            words, f"The outbox's tables in {{what}} are missing or others ({words}). Run `almirant-webhooks migrate`."
        )
    return StorageError(words)


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn the driver's errors in a block, or in a decorated function, into an engine's errors."""
    try:
        yield
    except Error as error:
        raise storage_error(error) from error


def as_engines(error: BaseException) -> BaseException:
    """Return an error of the driver as an engine's error, and any other as it is."""
    return storage_error(error) if isinstance(error, Error) else error
