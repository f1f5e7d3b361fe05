"""The URL of a PostgreSQL database, as libpq reads it, and the names of schemas (contract, section 6, *PostgreSQL*)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode

from ..model import MASK

EXAMPLE = "postgresql://user@host/database?sslmode=verify-full"
DEFAULT_SCHEMA = "almirant_webhooks"
MAX_URL = 4096
_SCHEMES = ("postgresql://", "postgres://")
_SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOST = re.compile(r"(?:\[[^\]]+\]|[^:\[\]]*)(?::(\d{0,5}))?")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,39}")
# Those of https://www.postgresql.org/docs/current/sql-keywords-appendix.html that no table's schema can have without quotes.
_RESERVED = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from full
grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime
localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references returning right
select session_user similar some symmetric system_user table tablesample then to trailing true union unique user using
variadic verbose when where window with
"""


@dataclass(frozen=True)
class PostgresUrl:
    """A database's URL. `text` may hold a password; `shown` does not, and is for people."""

    text: str = field(repr=False)
    shown: str


@dataclass(frozen=True)
class Place:
    """Where an outbox is: a database, and the schema of its tables in it."""

    url: PostgresUrl
    schema: str

    def __str__(self) -> str:
        """Return it for people, without a password."""
        return f"{self.url.shown}, schema {self.schema}"


def is_local(host: str) -> bool:
    """Tell whether a host is this machine: no name at all, a folder of sockets, or loopback."""
    if host == "" or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_postgres_url(text: str) -> PostgresUrl | None:
    """Return the URL, or None for an empty text.

    Raises `ValueError` with the reason, which never repeats the URL: a host that is not local needs an `sslmode`.
    """
    text = text.strip()
    if not text:
        return None
    if len(text) > MAX_URL or any(char.isspace() or not char.isprintable() for char in text):
        raise ValueError("the URL holds a space or a control character, or is too long; write it as %20 in a password")
    scheme = next((scheme for scheme in _SCHEMES if text.startswith(scheme)), None)
    if scheme is None:
        raise ValueError(f"the URL must begin with postgresql://; write {EXAMPLE}")
    rest, _, query = text.removeprefix(scheme).partition("?")
    authority, slash, database = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    _check_written(text, user, hosts, database)
    options = _options(query)
    for host in [_host(part) for part in hosts.split(",")] + _listed(options, "host") + _listed(options, "hostaddr"):
        if not is_local(host) and "sslmode" not in options:
            raise ValueError(
                "the host is not local, so the URL has to say how the connection is protected: add ?sslmode=verify-full "
                "(with sslrootcert, or a certificate that the system knows), or another sslmode that you choose"
            )
    if options.get("sslmode", "prefer") not in _SSLMODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSLMODES)}")
    name, colon, _ = user.partition(":")
    shown_options = [(key, MASK if _is_secret(key) else value) for key, value in options.items()]
    shown = f"{scheme}{name}{f':{MASK}' if colon else ''}{at}{hosts}{slash}{database}"
    return PostgresUrl(
        text, shown + (f"?{urlencode(shown_options, safe='()/', quote_via=quote)}" if shown_options else "")
    )


def check_schema(name: str) -> str:
    """Return the name of a schema; raises `ValueError` with the rule."""
    if _SCHEMA.fullmatch(name) is None or name.startswith("pg_"):
        raise ValueError(
            "a schema's name has 1 to 40 lower-case letters, digits and _, and does not begin with a digit or pg_"
        )
    if name in _RESERVED.split() or name == "information_schema":
        raise ValueError(f"{name} is a word of PostgreSQL's own, and no name for a schema of ours")
    return name


def _check_written(text: str, user: str, hosts: str, database: str) -> None:
    """Raise `ValueError` for what libpq would read in another way than we do, or repeat with a password in it."""
    if re.search("%(?![0-9A-Fa-f]{2})|%00", text):
        raise ValueError("a % in the URL is not followed by two hexadecimal digits; write %25 for a % in a password")
    if "@" in user + database:
        raise ValueError("an @ or a / in a user's name or password is written %40 or %2F")
    for part in hosts.split(","):
        found = _HOST.fullmatch(part)
        if found is None or int(found[1] or 1) not in range(1, 65536):
            raise ValueError(
                "what stands behind the host's colon is no port; write user:password@host:port, and a / in the password as %2F"
            )


def _is_secret(key: str) -> bool:
    """Tell whether an option is a password, or was meant as one."""
    return "pass" in key.lower() and key != "passfile"


def _options(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError("what follows ? in the URL is not a list of key=value joined by &") from None


def _host(part: str) -> str:
    if part.startswith("["):
        return part[1:].partition("]")[0]
    return unquote(part.partition(":")[0])


def _listed(options: dict[str, str], key: str) -> list[str]:
    return options.get(key, "").split(",")
