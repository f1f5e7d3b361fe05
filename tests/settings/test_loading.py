"""Settings: precedence, sources, and a sentence for everything that is wrong."""

from __future__ import annotations

import json
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from almirant_webhooks.model import Misconfigured
from almirant_webhooks.settings import loading
from almirant_webhooks.settings.schema import Settings

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config file #1.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_example_has_every_key_with_its_default_and_variable() -> None:
    """Loaded as it stands it changes nothing."""
    document = tomllib.loads(EXAMPLE.read_text())
    assert [(section, name) for section, table in document.items() for name in table] == list(loading.every_key())
    assert loading.load(str(EXAMPLE)) == Settings()
    for section, name in loading.every_key():
        assert loading.variable(section, name) in EXAMPLE.read_text()


def test_the_defaults_are_those_of_the_contract() -> None:
    """A few of each kind."""
    settings = Settings()
    assert settings.delivery.retry_schedule == tuple(timedelta(minutes=wait) for wait in (0, 1, 5, 30, 120))
    assert (settings.delivery.concurrency, settings.delivery.concurrency_per_webhook) == (256, 8)
    assert (settings.delivery.timeout, settings.delivery.max_response_body) == (timedelta(seconds=10), 16384)
    assert (settings.admin.listen, settings.outbox.path) == (("127.0.0.1", 8420), None)
    assert (settings.retention.failed, settings.limits.webhooks_per_project) == (timedelta(days=90), 100)


def test_environment_beats_credential_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each is named as the source."""
    file = write(tmp_path, '[admin]\ntoken = "file"\n[delivery]\nconcurrency = 3\ntimeout = "3s"\n')
    (tmp_path / "admin.token").write_text("the credential of systemd\n")
    (tmp_path / "delivery.concurrency").write_text("4")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("ALMIRANT_WEBHOOKS_DELIVERY__CONCURRENCY", "5")
    monkeypatch.setenv("ALMIRANT_WEBHOOKS_DELIVERY__RETRY_SCHEDULE", "1s, 2s")
    settings, sources = loading.load_with_sources(file)
    assert (settings.admin.token, settings.delivery.concurrency) == ("the credential of systemd", 5)
    assert settings.delivery.timeout == timedelta(seconds=3)
    assert settings.delivery.retry_schedule == (timedelta(seconds=1), timedelta(seconds=2))
    assert sources["admin.token"] == "credential admin.token"
    assert sources["delivery.timeout"] == file
    shown = {key: value for key, value, _ in loading.describe(settings, sources)}
    assert shown["admin.token"] == "(set)"
    assert set(shown) == {f"{section}.{name}" for section, name in loading.every_key()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[delivery]\ntimeot = "1s"', "Did you mean delivery.timeout"),
        ('[retention]\nheld = "-3d"', "retention.held"),
        ('[delivery]\ntimeout = "0s"', "longer than 0s"),
        ("[delivery]\ntimeout = 10", "delivery.timeout"),
        ("[delivery]\nretry_schedule = []", "delivery.retry_schedule"),
        ('[delivery]\nretry_schedule = ["0s", "soon"]', "'soon' is not a duration"),
        ("[delivery]\nconcurrency = 0", "delivery.concurrency"),
        ('[delivery]\ndisable_after = "soon"', "'soon' is not a duration"),
        ('[delivery]\ndisable_after = "0s"', "longer than 0s"),
        ("[delivery]\ndisable_after = 5", "delivery.disable_after"),
        ('[delivery]\ndisable_after = "99999d"', "must not be longer than"),
        ('[delivery]\nmax_response_body = "16 potatoes"', "is not a size"),
        ('[egress]\nallowed_networks = ["10.0.0.1/8"]', "egress.allowed_networks"),
        ('[egress]\nca_file = "/nowhere.pem"', "no file /nowhere.pem"),
        ('[admin]\nlisten = "8420"', "HOST:PORT"),
        ('[admin]\nhosts = ["http://almirant:8420"]', "admin.hosts"),
        ('[admin]\nhosts = ["almirant:8420"]', "write the name or the address alone"),
        ('[admin]\nhosts = ["almirant/"]', "without scheme, port, path"),
        ('[admin]\nhosts = ["*.example.com"]', "is not the name of a host"),
        ('[admin]\nhosts = ["almirant", ""]', "is not the name of a host"),
        ('[admin]\nhosts = ["bücher.example"]', "xn--"),
        ("[admin]\nhosts = [8420]", "admin.hosts"),
        ('[admin]\npublic_url = "webhooks.example.com"', "is not an address; write https://HOST"),
        ('[admin]\npublic_url = "https://webhooks.example.com:99999"', "is not an address"),
        ('[admin]\npublic_url = "https://webhooks.example.com:0"', "is not an address"),
        ('[admin]\npublic_url = "https://[::zz]"', "is not an address"),
        ('[admin]\npublic_url = "https://[:::]"', "is not an address"),
        ('[admin]\npublic_url = "https://intra.example/a b"', "is not an address"),
        ('[admin]\npublic_url = "https://intra.example/a/../b"', "is not an address"),
        ('[admin]\npublic_url = "https://intra.example//a"', "is not an address"),
        ('[admin]\npublic_url = "https://intra.example/a?b=c"', "is not an address"),
        ('[admin]\nlisten = "127.0.0.1:70000"', "HOST:PORT"),
        ('[admin]\nlisten = "0.0.0.0:8420"', "admin.token"),
        ('[log]\nlevel = "loud"', "log.level"),
        ("level = 3", "there is no such key"),
        ("[databse]", "Did you mean database"),
        ("delivery = 3", "this is a section"),
        ("[admin]\nlisten = []", "HOST:PORT"),
        ('[admin]\nlisten = ["127.0.0.1", 99999]', "HOST:PORT"),
        ('[admin]\nlisten = "0.0.0.0:8420"\ntoken = " "', "admin.token"),
        ("[delivery]\nconcurrency = true", "whole number"),
        ("[egress]\nallowed_networks = [1]", "is not a network"),
        ('[events]\nextra_types = ["NOT Good"]', "is not an event type"),
        ('[events]\nextra_types = ["invoice.paid", "almirant.sold"]', "begins with almirant., as the service's own"),
        ('[outbox]\npath = "a\\u0000b"', "NUL"),
        ('[retention]\nheld = "999999999d"', "must not be longer than 36500d"),
        ("[log", "is not TOML"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_reason(tmp_path: Path, text: str, words: str) -> None:
    """Exit 78 follows from the exception's kind."""
    file = write(tmp_path, text)
    with pytest.raises(Misconfigured) as refusal:
        loading.load(file)
    assert words in str(refusal.value)
    assert file in str(refusal.value)


@pytest.mark.parametrize("name", ["x" * 65, "two\nlines", "\x1b[1m"], ids=["long", "lines", "escape"])
def test_a_daemon_s_name_is_short_and_can_be_seen(tmp_path: Path, name: str) -> None:
    """It stands in tables of commands and pages."""
    file = write(tmp_path, f"[daemon]\nname = {json.dumps(name)}\n")
    with pytest.raises(Misconfigured, match=r"daemon\.name .*must be at most 64 characters that can be seen"):
        loading.load(file)


def test_an_unknown_variable_is_refused_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error must not pass in silence."""
    monkeypatch.setenv("ALMIRANT_WEBHOOKS_DATABASE_PATH", "x")
    with pytest.raises(Misconfigured, match="Did you mean ALMIRANT_WEBHOOKS_DATABASE__PATH"):
        loading.load()


def test_a_named_file_that_is_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By option and by variable alike."""
    with pytest.raises(Misconfigured, match="no configuration file"):
        loading.load(str(tmp_path / "none.toml"))
    monkeypatch.setenv(loading.CONFIG_VARIABLE, str(tmp_path / "other.toml"))
    with pytest.raises(Misconfigured, match=r"other\.toml"):
        loading.load()


def test_a_credential_that_is_not_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its key, and without showing what is in it."""
    (tmp_path / "admin.token").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(Misconfigured, match=r"credential admin\.token.*not UTF-8"):
        loading.load()


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the configuration nor of a credential; some editors write one, with CRLF."""
    file = tmp_path / "config.toml"
    file.write_bytes(b'\xef\xbb\xbf[delivery]\r\nconcurrency = 3\r\ntimeout = "3s"\r\n')
    (tmp_path / "admin.token").write_bytes(b"\xef\xbb\xbfthe credential of systemd\r\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = loading.load(str(file))
    assert (settings.delivery.concurrency, settings.delivery.timeout) == (3, timedelta(seconds=3))
    assert settings.admin.token == "the credential of systemd"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_refused_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    """A redirect of an older PowerShell writes UTF-16."""
    file = tmp_path / "config.toml"
    file.write_bytes("# café\n[delivery]\nconcurrency = 3\n".encode(encoding))
    with pytest.raises(Misconfigured, match=r"config\.toml is not UTF-8.* Save it as UTF-8\."):
        loading.load(str(file))


def test_a_variable_may_end_in_a_cr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every kind of key, and the name of the file too: a file of variables with CRLF leaves one at each end."""
    values = {
        "delivery.timeout": ("7s", timedelta(seconds=7)),
        "delivery.concurrency": ("5", 5),
        "delivery.max_response_body": ("1KiB", 1024),
        "delivery.retry_schedule": ("1s,2s", (timedelta(seconds=1), timedelta(seconds=2))),
        "database.path": (str(tmp_path / "a.db"), tmp_path / "a.db"),
        "outbox.path": ("", None),
        "egress.allow_localhost": ("true", True),
        "admin.listen": ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        "log.level": ("debug", "debug"),
    }
    file = write(tmp_path, "[limits]\nwebhooks_per_project = 7\n")
    monkeypatch.setenv(loading.CONFIG_VARIABLE, file + "\r")
    for key, (text, _) in values.items():
        monkeypatch.setenv(loading.variable(*key.split(".")), text + "\r")
    settings = loading.load()
    for key, (_, value) in values.items():
        section, name = key.split(".")
        assert getattr(getattr(settings, section), name) == value, key
    assert settings.limits.webhooks_per_project == 7


def test_an_empty_file_is_a_configuration(tmp_path: Path) -> None:
    """Every key has a default."""
    assert loading.load(write(tmp_path, "")) == Settings()
