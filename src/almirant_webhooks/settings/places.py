"""Where the database and the outbox are."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ..rules.postgres_urls import DEFAULT_SCHEMA, Place, check_schema, parse_postgres_url
from .fields import PositiveSpan, Section, as_path

LONGEST_NAME = 64


def _url(value: str) -> str:
    """Take a URL of PostgreSQL; the message does not repeat it, as it may hold a password."""
    parse_postgres_url(value)
    return value.strip()


def _name(value: str) -> str:
    name = value.strip()
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"must be at most {LONGEST_NAME} characters that can be seen")
    return name


with warnings.catch_warnings():
    # `schema` is also the name of a method that pydantic has given up; the contract's key has it.
    warnings.filterwarnings("ignore", message='Field name "schema"', category=UserWarning)

    class Database(Section):
        """Where the daemon keeps everything: one file, or PostgreSQL with the name of our schema in it."""

        path: Annotated[Path, BeforeValidator(as_path)] = Path("almirant-webhooks.db")
        url: Annotated[str, AfterValidator(_url), Field(repr=False)] = ""
        schema: Annotated[str, AfterValidator(check_schema)] = DEFAULT_SCHEMA  # type: ignore[assignment]


class Outbox(Section):
    """Where events come from."""

    path: Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else as_path(value))] = None
    url: Annotated[str, AfterValidator(_url), Field(repr=False)] = ""
    poll_interval: PositiveSpan = timedelta(seconds=1)

    def place(self, schema: str) -> Place | None:
        """Return where in PostgreSQL it is, or None."""
        url = parse_postgres_url(self.url)
        return None if url is None else Place(url, schema)


class Daemon(Section):
    """What a daemon is called where several share a database; two may have one name."""

    name: Annotated[str, AfterValidator(_name)] = ""
