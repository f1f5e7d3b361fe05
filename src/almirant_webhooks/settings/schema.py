"""Every setting with its type, its default and its range; `loading` loads them."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ..rules.event_types import NOTICE_PREFIX, is_notice, is_well_formed
from ..rules.postgres_urls import Place, parse_postgres_url
from ..rules.proxies import parse_proxy
from ..rules.urls import Policy
from .fields import PositiveSpan, Section, Span, as_list, as_path, as_span
from .look import Pages
from .places import Daemon, Database, Outbox

_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB)?")
_ADDRESS = re.compile(
    r"(?P<origin>https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?)(?P<path>(/(?!\.{1,2}(/|$))[\w.~-]+)*)",
    re.ASCII | re.IGNORECASE,
)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+):([0-9]{1,5})")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SHORTEST_TOKEN = 16


def _size(value: object) -> int:
    match = _SIZE.fullmatch(str(value))
    if match is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a size; write bytes as 16384 or 16KiB or 1MiB")
    return int(match[1]) * {"KiB": 1024, "MiB": 1024 * 1024}.get(match[2], 1)


def _listen(value: object) -> tuple[str, int] | None:
    if value == "" or value is None:
        return None
    if isinstance(value, tuple):
        return str(value[0]), int(value[1])
    match = _LISTEN.fullmatch(str(value))
    if match is None or int(match[2]) > 65535:
        raise ValueError(f'{value!r} is not an address; write HOST:PORT, as in 127.0.0.1:8420, or "" for none')
    return match[1].strip("[]"), int(match[2])


def _whole(value: object) -> object:
    if isinstance(value, (bool, float)):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _event_type(value: str) -> str:
    if not is_well_formed(value):
        raise ValueError(f"{value!r} is not an event type; write dotted lower-case words, as in work_item.created")
    if is_notice(value):
        raise ValueError(
            f"{value!r} begins with {NOTICE_PREFIX}, as the service's own types do alone; give it another name"
        )
    return value


def _network(value: object) -> object:
    if not isinstance(value, (str, ipaddress.IPv4Network, ipaddress.IPv6Network)):
        raise ValueError(f'{value!r} is not a network; write it in quotes, as in "10.0.0.0/8"')
    return value


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is too large, an IPv6 address that is none
        return False


def _public_url(value: str) -> str:
    """Take the address of the pages: scheme and host, and a path where a server in front passes on what is below it."""
    text = value.strip().rstrip("/")
    match = _ADDRESS.fullmatch(text)
    if text and (match is None or not _is_url(text)):
        raise ValueError(
            f"{value!r} is not an address; write https://HOST or https://HOST:PORT, or https://HOST/PATH for pages below "
            "a path of letters, digits, -, . and _"
        )
    return text if match is None else match["origin"].lower() + match["path"]


def _host(value: str) -> str:
    """Take the name of a host alone, as the header `Host` has it."""
    text = value.strip().lower()
    with suppress(ValueError):
        return str(ipaddress.ip_address(text.strip("[]")))
    if _HOST.fullmatch(text) is None or len(text) > 253:
        raise ValueError(
            f"{value!r} is not the name of a host; write the name or the address alone, as in almirant or 10.0.0.5, "
            "without scheme, port, path or *, and an international name as browsers send it (xn--…)"
        )
    return text


def _token(value: str) -> str:
    """Take a token that cannot be guessed; the message does not repeat it."""
    text = value.strip()
    if text and len(text) < SHORTEST_TOKEN:
        raise ValueError(f"must have at least {SHORTEST_TOKEN} characters, as `openssl rand -hex 32` makes them")
    return text


def _proxy(value: str) -> str:
    """Take the URL of a proxy; the message does not repeat it, as it may hold a password."""
    parse_proxy(value)
    return value.strip()


MaybeSpan = Annotated[PositiveSpan | None, BeforeValidator(lambda value: None if value == "" else as_span(value))]
Whole = Annotated[int, BeforeValidator(_whole)]


class Delivery(Section):
    """How requests are made and repeated."""

    timeout: PositiveSpan = timedelta(seconds=10)
    retry_schedule: Annotated[tuple[Span, ...], BeforeValidator(as_list), Field(min_length=1, max_length=50)] = (
        timedelta(0),
        timedelta(minutes=1),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
    )
    concurrency: Annotated[Whole, Field(ge=1, le=10_000)] = 256
    concurrency_per_webhook: Annotated[Whole, Field(ge=1, le=10_000)] = 8
    max_response_body: Annotated[int, BeforeValidator(_size), Field(ge=0, le=1024 * 1024)] = 16 * 1024
    disable_after: MaybeSpan = None  # never


class Egress(Section):
    """Where requests may go."""

    allow_localhost: bool = False
    allowed_networks: Annotated[
        tuple[Annotated[Network, BeforeValidator(_network)], ...], BeforeValidator(as_list)
    ] = ()
    ca_file: str = ""
    proxy: Annotated[str, AfterValidator(_proxy), Field(repr=False)] = ""


class Events(Section):
    """The catalogue's additions."""

    extra_types: Annotated[tuple[Annotated[str, AfterValidator(_event_type)], ...], BeforeValidator(as_list)] = ()


class Admin(Section):
    """What the daemon serves to people and programs."""

    listen: Annotated[tuple[str, int] | None, BeforeValidator(_listen)] = ("127.0.0.1", 8420)
    token: Annotated[str, AfterValidator(_token), Field(repr=False)] = ""
    public_url: Annotated[str, AfterValidator(_public_url)] = ""
    hosts: Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(as_list)] = ()


class Secrets(Section):
    """How what is secret is kept in the database."""

    key_file: Annotated[str, BeforeValidator(lambda value: value if value == "" else as_path(value))] = ""
    seal: bool = True


class Retention(Section):
    """How long rows are kept."""

    succeeded: PositiveSpan = timedelta(days=30)
    failed: PositiveSpan = timedelta(days=90)
    held: PositiveSpan = timedelta(days=30)
    outbox: PositiveSpan = timedelta(days=7)
    bodies: Annotated[PositiveSpan | None, BeforeValidator(lambda value: None if value == "" else value)] = None

    @property
    def shortest(self) -> timedelta:
        """How long every delivery that has ended is kept at least."""
        return min(self.succeeded, self.failed)


class Limits(Section):
    """What one project may use."""

    webhooks_per_project: Annotated[Whole, Field(ge=1)] = 100


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(BaseSettings):
    """All settings; `loading.load` makes them from their sources."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    database: Database = Database()
    outbox: Outbox = Outbox()
    daemon: Daemon = Daemon()
    delivery: Delivery = Delivery()
    egress: Egress = Egress()
    events: Events = Events()
    admin: Admin = Admin()
    pages: Pages = Pages()
    secrets: Secrets = Secrets()
    retention: Retention = Retention()
    limits: Limits = Limits()
    log: Log = Log()

    def policy(self) -> Policy:
        """Return where requests may go; the address that the pages are served on stays closed."""
        host, port = self.admin.listen or ("", 0)
        hosts = ("127.0.0.1", "::1") if host == "localhost" else (host,)
        return Policy(
            allow_localhost=self.egress.allow_localhost,
            allowed_networks=self.egress.allowed_networks,
            closed=frozenset((listens_on, port) for listens_on in hosts if listens_on),
        )

    @property
    def database_place(self) -> Place | None:
        """Where in PostgreSQL the database is, and the outbox with it, or None."""
        url = parse_postgres_url(self.database.url)
        return None if url is None else Place(url, self.database.schema)

    @property
    def outbox_place(self) -> Place | None:
        """Where in PostgreSQL an outbox apart from the database is, or None."""
        return self.outbox.place(self.database.schema)

    def pages_address(self) -> str:
        """Return where people reach the pages: `admin.public_url`, else `admin.listen`."""
        if self.admin.public_url or self.admin.listen is None:
            return self.admin.public_url
        host, port = self.admin.listen
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # pydantic-settings calls it by keywords
        cls, settings_cls: type[BaseSettings], **kwargs: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from `load` alone, which knows the source of each."""
        return (kwargs["init_settings"],)
