"""The commands on a real database file, in this process and as a process of their own."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.cli.output import print_table, safe

DRIVER = "import sys; from almirant_webhooks.cli import main; sys.argv[0] = 'almirant-webhooks'; main()"


class Shell:
    """A directory with a database, and the command as a person runs it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ALMIRANT_WEBHOOKS_DATABASE__PATH": str(folder / "a #1?%.db")}

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", DRIVER, *words],
            check=False,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, code: int, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr

    def create(self, *more: str) -> dict[str, Any]:
        words = ("--project", "proj_1", "--url", "https://example.com/in", *(more or ("--event", "*")))
        made = self.json("webhook", "create", *words)
        assert isinstance(made, dict)
        return made


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    there = Shell(tmp_path)
    assert there.run("migrate").returncode == 0
    return there


def test_a_webhook_lives_from_create_to_delete(shell: Shell) -> None:
    """Create prints the secret, list and show do not; update, disable and enable change it; delete removes it."""
    made = shell.create("--event", "work_item.*")
    assert made["secret"].startswith("whsec_")
    webhook = made["id"]
    (listed,) = shell.json("webhook", "list", "--project", "proj_1")
    assert "secret" not in listed
    assert "secret" not in shell.json("webhook", "show", webhook)
    assert shell.json("webhook", "update", webhook, "--event", "lead.created")["events"] == ["lead.created"]
    assert shell.json("webhook", "disable", webhook)["enabled"] is False
    assert shell.json("webhook", "enable", webhook)["enabled"] is True
    assert "--yes" in shell.refused(1, "webhook", "delete", webhook)
    assert shell.run("webhook", "delete", webhook, "--yes").returncode == 0
    assert shell.json("webhook", "list") == []
    assert shell.refused(1, "webhook", "show", webhook).startswith("error: ")


def test_a_test_is_of_a_type_that_the_webhook_wants(shell: Shell) -> None:
    """Without --event the sample is of the first type of the catalogue that the webhook subscribes to."""
    webhook = shell.create("--event", "lead.*")["id"]
    delivery = shell.json("webhook", "test", webhook)["delivery_id"]
    assert shell.json("delivery", "show", delivery)["event_type"] == "lead.created"
    assert [one["delivery_id"] for one in shell.json("delivery", "list")] == [delivery]
    assert "waits already" in shell.run("delivery", "resend", delivery).stderr


def test_an_event_is_sent_from_an_option_a_file_and_standard_input(shell: Shell) -> None:
    """--data takes JSON, @FILE and -; the event's id is the data."""
    (shell.folder / "payload.json").write_text('{"a": 1}')
    words = ("event", "send", "--project", "proj_1", "--type", "work_item.created", "--data")
    assert shell.run(*words, '{"a": 1}', "--id", "evt_mine").stdout == "evt_mine\n"
    assert shell.run(*words, "@payload.json").stdout.startswith("evt_")
    assert shell.run(*words, "-", stdin='{"a": 1}').stdout.startswith("evt_")
    assert shell.json("event", "list", "--rejected") == []


@pytest.mark.parametrize("data", ["{", "[]", '{"a": NaN}', "@missing.json", '{"a": ' + "1" * 5000 + "x}", "[" * 9000])
def test_a_payload_that_cannot_be_sent_is_refused_with_a_sentence(shell: Shell, data: str) -> None:
    """Broken JSON, another JSON value, and a file that is not there: exit 1."""
    words = ("event", "send", "--project", "proj_1", "--type", "work_item.created", "--data", data)
    assert shell.refused(1, *words).startswith("error: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://example.com/", "--event", "*"), "https"),
        (("--url", "https://example.com/", "--event", "work_item.create"), "Did you mean 'work_item.created'?"),
        (("--url", "https://example.com/", "--event", "*", "--secret", "short"), "16"),
        (("--url", "https://example.com:99999/", "--event", "*"), "port"),
    ],
)
def test_a_bad_value_of_a_webhook_gets_a_sentence(shell: Shell, words: tuple[str, ...], said: str) -> None:
    """URL, event type and secret are refused with exit 1 and what is wrong."""
    assert said in shell.refused(1, "webhook", "create", "--project", "proj_1", *words)


def test_unknown_ids_wrong_usage_and_a_wrong_configuration_have_exit_codes_of_their_own(shell: Shell) -> None:
    """1 for what is not there, 2 for wrong usage, 78 for what a restart cannot mend."""
    assert "dlv_none" in shell.refused(1, "delivery", "show", "dlv_none")
    assert "evt_none" in shell.refused(1, "event", "show", "evt_none")
    shell.refused(2, "delivery", "list", "--since", "yesterday")
    shell.refused(2, "delivery", "list", "--since", "999999999d")
    shell.refused(2, "webhook", "update", "wh_1")
    shell.refused(78, "delivery", "list", "--config", "missing.toml")
    shell.environment["ALMIRANT_WEBHOOKS_DATABSE__PATH"] = "x"
    assert "ALMIRANT_WEBHOOKS_DATABASE__PATH" in shell.refused(78, "check-config")


def test_a_file_that_is_no_database_gets_a_sentence(tmp_path: Path) -> None:
    """Text, a directory, nothing at all and another program's database: exit 78."""
    shell = Shell(tmp_path)
    place = Path(shell.environment["ALMIRANT_WEBHOOKS_DATABASE__PATH"])
    assert "migrate" in shell.refused(78, "delivery", "list")
    place.write_text("no database " * 100)
    assert "not an SQLite database" in shell.refused(78, "delivery", "list")
    place.unlink()
    place.mkdir()
    assert "directory" in shell.refused(78, "delivery", "list")
    place.rmdir()
    conn = sqlite3.connect(place)
    conn.execute("CREATE TABLE orders (id)")
    conn.close()
    shell.refused(78, "delivery", "list")


def test_reading_the_log_starts_fast() -> None:
    """`delivery list` imports neither aiohttp nor uvloop."""
    code = "import sys, almirant_webhooks.cli.delivery; print({'aiohttp', 'uvloop'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


def test_the_help_of_every_command_is_there(shell: Shell) -> None:
    """--help works for each command of the table, and completion prints a script."""
    from almirant_webhooks.cli.root import COMMANDS

    assert all(shell.run(name, "--help").returncode == 0 for name in COMMANDS)
    assert "_ALMIRANT_WEBHOOKS_COMPLETE" in shell.run("completion", "zsh").stdout


def test_what_comes_from_a_receiver_cannot_drive_the_terminal() -> None:
    """Control characters, C1 and bidirectional ones too, are printed as escapes."""
    assert safe("\x1b]0;owned\x07\x9b\u202e\r") == "\\x1b]0;owned\\x07\\x9b\\u202e\\r"


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a terminal has a width."""
    print_table({"url": "URL"}, [{"url": "x" * 500}])
    assert "x" * 500 in capsys.readouterr().out
