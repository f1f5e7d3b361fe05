"""`outbox.url` and `database.schema`: which URLs are taken, and that no password is ever shown."""

from __future__ import annotations

import pytest

from almirant_webhooks.rules.postgres_urls import parse_postgres_url
from almirant_webhooks.settings.loading import describe
from almirant_webhooks.settings.schema import Settings

from ..support.shell import Shell

LOCAL = [
    "postgresql:///app",
    "postgres://localhost/app",
    "postgresql://u:p@127.0.0.1:5433/app",
    "postgresql://[::1]/app",
    "postgresql://%2Frun%2Fpostgresql/app",
    "postgresql:///app?host=/run/postgresql",
    "postgresql://localhost,127.0.0.2/app",
]
REMOTE = [
    "postgresql://db.example.com/app",
    "postgresql://u@10.0.0.5/app",
    "postgresql://[2001:db8::1]:5432/app",
    "postgresql://localhost,db/app",
    "postgresql:///app?host=db",
    "postgresql:///app?host=/run,db",
    "postgresql://localhost/app?hostaddr=10.0.0.5",
    "postgresql://localhost@evil/app",
    "postgresql://u:p%40localhost@evil/app",
]
BROKEN = [
    "http://x/y",
    "postgresql:/x",
    "x",
    "postgresql://a b/c",
    "postgresql:///a?b",
    "postgresql:///a?sslmode=maybe",
    "postgresql://u:hush/db",
    "postgresql://u:hu/sh@localhost/db",
    "postgresql://u:hu@sh@localhost/db",
    "postgresql://u:hu%sh@localhost/db",
    "postgresql://u:hush%00@localhost/db",
    "postgresql://u:hush@[::1/db",
    "postgresql://u:hush@[::1]x/db",
    "postgresql://u:hush@localhost:99999/db",
    "postgresql://u:hush@localhost:0/db",
]


@pytest.mark.parametrize("url", LOCAL)
def test_a_local_server_needs_no_sslmode(url: str) -> None:
    assert parse_postgres_url(url) is not None


@pytest.mark.parametrize("url", REMOTE)
def test_any_other_host_needs_an_sslmode_of_the_operator_s_choice(url: str) -> None:
    """However it is named."""
    with pytest.raises(ValueError, match="sslmode=verify-full"):
        parse_postgres_url(url)
    assert parse_postgres_url(f"{url}{'&' if '?' in url else '?'}sslmode=require") is not None


@pytest.mark.parametrize("url", BROKEN)
def test_what_is_no_such_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # each has words of its own
        parse_postgres_url(url)
    assert url not in str(refused.value)
    assert "hu" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hush@localhost/app",
        "postgresql://u:hu%40sh%3A@localhost/app?password=hush2&sslpassword=hush3",
        "postgresql://:hush@/app?application_name=x%26y",
        "postgresql:///app?passwd=hush&PASSWORD=hush",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    """Neither by `check-config --show` nor by whatever prints the settings."""
    settings = Settings.model_validate({"outbox": {"url": url}})
    shown = {key: value for key, value, _ in describe(settings, {})}["outbox.url"]
    assert "(masked)" in shown
    assert "hu" not in shown + repr(settings) + str(settings.outbox_place) + repr(settings.outbox_place)


@pytest.mark.parametrize("name", ["", "Upper", "a-b", "1a", "pg_mine", "user", "x" * 41, 'a"; DROP TABLE x; --'])
def test_a_schema_s_name_is_a_plain_word(shell: Shell, name: str) -> None:
    shell.config.write_text(f"[database]\nschema = '{name}'\n")
    assert "database.schema" in shell.ours("check-config", code=78)


def test_the_outbox_is_in_one_place(shell: Shell) -> None:
    """Both keys: exit 78, with where each comes from."""
    shell.config.write_text(shell.config.read_text() + '[outbox]\npath = "o.db"\nurl = "postgresql:///app"\n')
    words = shell.ours("check-config", code=78)
    assert "outbox.url (from" in words
    assert "outbox.path (from" in words


@pytest.mark.parametrize("section", ["outbox", "database"])
def test_a_host_without_sslmode_is_exit_78(shell: Shell, section: str) -> None:
    """Before anybody connects, and without the URL's password."""
    shell.config.write_text(f'[{section}]\nurl = "postgresql://u:hush@db/app"\n')
    words = shell.ours("serve", code=78)
    assert f"{section}.url" in words
    assert "sslmode" in words
    assert "hush" not in words
