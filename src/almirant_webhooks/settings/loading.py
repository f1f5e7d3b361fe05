"""Settings: option, environment, systemd credential, TOML file, default; whoever gave a bad value is named."""

from __future__ import annotations

import difflib
import ipaddress
import os
import ssl
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from .. import clock
from ..model import Misconfigured
from ..rules.postgres_urls import parse_postgres_url
from ..rules.proxies import parse_proxy
from .look import MOST_LOGO
from .schema import Settings

PREFIX = "ALMIRANT_WEBHOOKS_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
DEFAULT_FILE = Path("/etc/almirant-webhooks/config.toml")
_TEXT = "utf-8-sig"  # some editors begin a file with a byte order mark


def every_key() -> Iterator[tuple[str, str]]:
    """Yield every key as (section, name)."""
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for name in model.model_fields:
            yield section, name


def variable(section: str, name: str) -> str:
    """Return the environment variable of a key."""
    return f"{PREFIX}{section}__{name}".upper()


def load(config_file: str | None = None) -> Settings:
    """Load the settings from the file (named, by `$ALMIRANT_WEBHOOKS_CONFIG`, or the default place) and its overrides.

    Raises `Misconfigured` with the key, its source and the reason.
    """
    return load_with_sources(config_file)[0]


def load_with_sources(config_file: str | None = None) -> tuple[Settings, dict[str, str]]:
    """Load the settings and tell for each key that was given where it came from."""
    values: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}

    def give(section: str, name: str, value: object, source: str) -> None:
        values.setdefault(section, {})[name] = value
        sources[f"{section}.{name}"] = source

    for giver in (_from_file(config_file), _from_credentials(), _from_environment()):
        for section, name, value, source in giver:
            give(section, name, value, source)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        reason = first["msg"].removeprefix("Value error, ")
        raise Misconfigured(f"{key} (from {sources.get(key, 'its default')}): {reason}.") from None
    _check(settings, sources)
    return settings, sources


def _check(settings: Settings, sources: dict[str, str]) -> None:
    listen = settings.admin.listen
    if listen is not None and not settings.admin.token and not _is_loopback(listen[0]):
        raise Misconfigured(
            f"admin.listen (from {sources.get('admin.listen', 'its default')}): {listen[0]} is reachable by others, and "
            "no admin.token is configured. Set one, or listen on 127.0.0.1."
        )
    if settings.database.url:
        _check_one_database(settings, sources)
    if settings.outbox.url and settings.outbox.path is not None:
        raise Misconfigured(
            f"outbox.url (from {sources.get('outbox.url', 'its default')}) and outbox.path (from "
            f"{sources.get('outbox.path', 'its default')}): the outbox is in one place; leave one of the two out."
        )
    if settings.egress.ca_file:
        _check_ca_file(Path(settings.egress.ca_file), sources.get("egress.ca_file", "its default"))
    if settings.pages.logo:
        _check_logo(Path(settings.pages.logo), sources.get("pages.logo", "its default"))


def _check_one_database(settings: Settings, sources: dict[str, str]) -> None:
    given = {
        "database.path": "database.path" in sources,
        "outbox.path": settings.outbox.path is not None,
    }
    for key in (key for key, is_given in given.items() if is_given):
        raise Misconfigured(
            f"database.url (from {sources.get('database.url', 'its default')}) and {key} (from {sources[key]}): PostgreSQL then "
            "holds everything, the outbox too; leave one of the two out."
        )
    if settings.outbox_place == settings.database_place:
        raise Misconfigured(
            f"outbox.url (from {sources.get('outbox.url', 'its default')}): it is the database of database.url, which has an outbox "
            "of its own. Leave outbox.url out, or name an application's database in it."
        )
    if settings.secrets.seal and not settings.secrets.key_file:
        raise Misconfigured(
            f"secrets.key_file (from {sources.get('secrets.key_file', 'its default')}): with database.url the key of what is secret "
            "is a file, or a systemd credential, that all daemons have. Make one (see docs/key.md) and name it, as in: "
            '( umask 077; echo "k1 $(head -c 32 /dev/urandom | base64)" > almirant-webhooks.seal )'
        )


def _check_logo(path: Path, source: str) -> None:
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError:
        size = 0
    if not 1 <= size <= MOST_LOGO:
        raise Misconfigured(
            f"pages.logo (from {source}): {path} is not a picture of at most {MOST_LOGO // 1024} KiB that can be read. Name a "
            "file that the service's user may read, or leave it out."
        )


def _check_ca_file(path: Path, source: str) -> None:
    if not path.is_file():
        raise Misconfigured(f"egress.ca_file (from {source}): there is no file {path}.")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or error
        raise Misconfigured(
            f"egress.ca_file (from {source}): {path} cannot be used ({reason}). Name a file of certificates in PEM form that "
            "the service's user may read."
        ) from None


def check_places(settings: Settings, sources: dict[str, str]) -> None:
    """Raise `Misconfigured` for a database or an outbox where there can be none: what `serve` finds out at its start."""
    for key, path in (("database.path", settings.database.path), ("outbox.path", settings.outbox.path)):
        if path is None or settings.database.url:
            continue
        origin = f"{key} (from {sources.get(key, 'its default')}): "
        folder = path.absolute().parent
        if not folder.is_dir():
            raise Misconfigured(f"{origin}the directory {folder} does not exist; make it first.")
        if path.is_dir():
            raise Misconfigured(f"{origin}{path} is a directory; name a file in it.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unknown(key: str, source: str, known: list[str]) -> Misconfigured:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return Misconfigured(f"{key} (from {source}): there is no such key.{hint}")


_Given = Iterator[tuple[str, str, object, str]]


def _from_file(config_file: str | None) -> _Given:
    named = config_file or os.environ.get(CONFIG_VARIABLE, "").strip()
    path = Path(named) if named else DEFAULT_FILE
    try:
        document = tomllib.loads(path.read_text(encoding=_TEXT))
    except FileNotFoundError:
        if named:
            raise Misconfigured(f"There is no configuration file {path}.") from None
        return
    except OSError as error:
        raise Misconfigured(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise Misconfigured(
            f"The configuration file {path} is not UTF-8, which TOML is: {error}. Save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"The configuration file {path} is not TOML: {error}.") from None
    known = [f"{section}.{name}" for section, name in every_key()]
    for section, table in document.items():
        if section not in Settings.model_fields:
            raise _unknown(section, str(path), [*Settings.model_fields, *known])
        if not isinstance(table, dict):
            raise Misconfigured(f"{section} (from {path}): this is a section; write [{section}] and its keys below.")
        for name, value in table.items():
            if f"{section}.{name}" not in known:
                raise _unknown(f"{section}.{name}", str(path), known)
            yield section, name, value, str(path)


def _from_credentials() -> _Given:
    """Read systemd's credentials: a file for each key, named as the key (systemd.exec(5), LoadCredential=)."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    for section, name in every_key() if folder else ():
        path = Path(folder or "") / f"{section}.{name}"
        if path.is_file():
            source = f"credential {section}.{name}"
            if (section, name) == ("secrets", "key_file"):  # it is the key file itself, which is read where it is
                yield section, name, str(path), source
                continue
            try:
                text = path.read_text(encoding=_TEXT).strip()
            except OSError as error:
                raise Misconfigured(f"{section}.{name} (from {source}): it cannot be read: {error.strerror}.") from None
            except UnicodeDecodeError:
                raise Misconfigured(f"{section}.{name} (from {source}): it is not UTF-8 text.") from None
            yield section, name, text, source


def _from_environment() -> _Given:
    """Read the variables; blanks around a value go, as a file of variables with CRLF leaves a CR at each end."""
    known = {variable(section, name): (section, name) for section, name in every_key()}
    for key, value in os.environ.items():
        if not key.startswith(PREFIX) or key == CONFIG_VARIABLE:
            continue
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise Misconfigured(f"{key} (from the environment): there is no such variable.{hint}")
        yield *known[key], value.strip(), f"environment {key}"


def describe(settings: Settings, sources: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return every key with its value and source; a token is shown as `(set)` alone, URLs without their passwords."""
    rows = []
    for section, name in every_key():
        value = getattr(getattr(settings, section), name)
        key = f"{section}.{name}"
        rows.append((key, _show(key, value), sources.get(key, "default")))
    return rows


def _show(key: str, value: object) -> str:
    if key == "admin.token":
        return "(set)" if value else '""'
    if key in ("database.url", "outbox.url"):
        url = parse_postgres_url(str(value))
        return url.shown if url is not None else '""'
    if key == "egress.proxy":
        proxy = parse_proxy(str(value))
        return proxy.shown if proxy is not None else '""'
    if key == "admin.listen":
        return f"{value[0]}:{value[1]}" if isinstance(value, tuple) else '""'
    if isinstance(value, timedelta):
        return clock.show_duration(value)
    if isinstance(value, tuple):
        return (
            "["
            + ", ".join(clock.show_duration(item) if isinstance(item, timedelta) else str(item) for item in value)
            + "]"
        )
    if value is None or value == "":
        return '""'
    return str(value).lower() if isinstance(value, bool) else str(value)
