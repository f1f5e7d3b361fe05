"""PostgreSQL's driver, which is installed with `almirant-webhooks[postgres]` alone. Every other module takes it from here."""

from __future__ import annotations

from ...model import Misconfigured

try:
    import psycopg
    from psycopg import Connection, Error, RawCursor, conninfo, errors, pq, sql
    from psycopg.abc import Buffer
    from psycopg.adapt import Dumper, Loader
    from psycopg.types.string import StrDumperUnknown
except ImportError as error:
    raise Misconfigured(
        f"PostgreSQL's driver cannot be used ({error}). Install it: pip install almirant-webhooks[postgres]"
    ) from None

__all__ = [
    "Buffer",
    "Connection",
    "Dumper",
    "Error",
    "Loader",
    "RawCursor",
    "StrDumperUnknown",
    "conninfo",
    "errors",
    "pq",
    "psycopg",
    "sql",
]
