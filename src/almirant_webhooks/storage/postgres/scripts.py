"""The SQL that makes and upgrades the outbox's tables. It needs no driver."""

from __future__ import annotations

import re
from importlib import resources

from ...model import Refused
from ...rules.postgres_urls import DEFAULT_SCHEMA, check_schema

SCHEMA_VERSION = 2


def outbox_sql(schema: str = DEFAULT_SCHEMA, version: int = 0) -> str:
    """Return the SQL that makes the present outbox in a schema, for applications with migrations of their own.

    Of an outbox that is there it is told the version, and brings it to the present one. Raises `Refused` for a name that no schema of ours has.
    """
    try:
        check_schema(schema)
    except ValueError as error:
        raise Refused(f"--schema: {error}.", "schema") from None
    make = [f"CREATE SCHEMA IF NOT EXISTS {schema};\n"] if version == 0 else []
    return "\n".join([*make, *scripts(version, schema)])


def scripts(version: int, schema: str) -> list[str]:
    """Return the migrations after a version, in order, for a schema."""
    files = [
        file for file in resources.files(__package__).joinpath("migrations").iterdir() if file.name.endswith(".sql")
    ]
    later = sorted((file for file in files if int(file.name[:4]) > version), key=lambda file: file.name)
    return [re.sub(rf"\b{DEFAULT_SCHEMA}\b", schema, file.read_text(encoding="utf-8")) for file in later]
