"""The command line as people use it, from its entry point, on a real database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from almirant_webhooks import verify
from almirant_webhooks.cli.output import print_table, safe
from almirant_webhooks.cli.root import COMMANDS

from ..conftest import Receiver
from ..support.service import SECRET, Service
from ..support.shell import Shell

COMMAND = str(Path(sys.executable).parent / "almirant-webhooks")


@pytest.mark.parametrize("url", ["http://localhost:9000/in", "https://127.0.0.1/in", "https://app.localhost/in"])
def test_a_url_of_the_machine_itself_is_refused_with_the_key_that_allows_it(shell: Shell, url: str) -> None:
    """To who runs commands alone: people on the pages have no configuration."""
    shell.config.write_text(shell.config.read_text().replace("allow_localhost = true", "allow_localhost = false"))
    create = ("webhook", "create", "--project", "p", "--event", "*", "--url")
    assert "egress.allow_localhost" in shell.ours(*create, url, code=1)
    for never in ("http://example.com/in", "http://app.localhost/in"):
        assert "egress.allow_localhost" not in shell.ours(*create, never, code=1)


@pytest.mark.each_engine
def test_a_webhook_is_created_listed_changed_and_deleted(shell: Shell) -> None:
    """`webhook create --json` gives the whole webhook; no other command shows its secret."""
    create = ("webhook", "create", "--project", "p", "--url", "https://Example.com", "--event", "work_item.*")
    made = json.loads(shell.ours(*create, "--json"))
    assert made["url"] == "https://example.com/"
    assert made["secret"].startswith("whsec_")
    webhook = made["id"]
    shell.ours("webhook", "update", webhook, "--event", "lead.created", "--description", "the CRM")
    shell.ours("webhook", "disable", webhook)
    (listed,) = json.loads(shell.ours("webhook", "list", "--json"))
    assert (listed["events"], listed["enabled"], listed["description"]) == (["lead.created"], False, "the CRM")
    assert "secret" not in listed
    assert made["secret"] not in shell.ours("webhook", "show", webhook)
    shell.ours("webhook", "enable", webhook)
    assert "say --yes" in shell.ours("webhook", "delete", webhook, code=1)
    shell.ours("webhook", "delete", webhook, "--yes")
    assert "There is no webhook" in shell.ours("webhook", "show", webhook, code=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--url": "http://example.com/"}, "https://"),
        ({"--url": "https://example.com:99999/"}, "port"),
        ({"--url": "https://u:p@example.com/"}, "user or password"),
        ({"--url": "https://10.0.0.1/"}, "not allowed"),
        ({"--event": "work_item.create"}, "Did you mean 'work_item.created'"),
        ({"--event": "wrok_item.*"}, "Did you mean 'work_item.*'"),
        ({"--secret": "short"}, "16 to 256 bytes"),
        ({"--project": "a\nb"}, "printable ASCII"),
    ],
)
def test_a_bad_value_gets_a_sentence(shell: Shell, change: dict[str, str], words: str) -> None:
    """Exit 1, and nothing is made."""
    values = {"--project": "p", "--url": "https://example.com/", "--event": "*", **change}
    said = shell.ours("webhook", "create", *(word for pair in values.items() for word in pair), code=1)
    assert words in said
    assert json.loads(shell.ours("webhook", "list", "--json")) == []


def test_an_international_host_is_stored_in_its_ascii_form(shell: Shell) -> None:
    """And a path with spaces in its URL is refused."""
    create = ("webhook", "create", "--project", "p", "--event", "*", "--json", "--url")
    assert json.loads(shell.ours(*create, "https://bücher.example/ü"))["url"] == "https://xn--bcher-kva.example/%C3%BC"
    assert "space" in shell.ours(*create, "https://example.com/a b", code=1)


def test_events_are_sent_from_an_argument_a_file_and_standard_input(shell: Shell) -> None:
    """An own id with the same content is taken once, with other content refused."""
    send = ("event", "send", "--project", "p", "--type", "lead.created", "--data")
    (shell.folder / "payload.json").write_text('{"a": 1}')
    shell.ours(*send, '{"a": "é😀"}')
    shell.ours(*send, f"@{shell.folder}/payload.json", "--id", "e1")
    shell.ours(*send, "-", "--id", "e1", given='{"a": 1}')
    assert "other content" in shell.ours(*send, "{}", "--id", "e1", code=1)
    assert "line 1, column 2" in shell.ours(*send, "{x", code=1)
    assert "JSON object" in shell.ours(*send, "[1]", code=1)
    assert "not UTF-8" in shell.ours(*send, "-", code=1, given=b'{"a": "\xff"}')
    assert "256 KiB" in shell.ours(*send, "-", code=1, given='{"a": "' + "x" * 262144 + '"}')
    assert "cannot be read" in shell.ours(*send, "@/nowhere.json", code=1)


@pytest.mark.long
async def test_resend_and_test_wait_for_the_running_daemon(service: Service, receiver: Receiver) -> None:
    """`--wait` prints the attempt; a failure is exit 1."""
    shell = service.shell()
    await service.start()
    webhook = service.webhook(receiver.url)
    service.insert({"a": "\u001b[31mred"})
    await service.until(lambda: service.log(state="succeeded"))
    (row,) = service.log()

    async def ours(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            COMMAND, *words, "--config", str(shell.config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    assert (await ours("delivery", "resend", row["delivery_id"], "--wait"))[0] == 0
    receiver.status = 503
    code, said = await ours("webhook", "test", webhook.id, "--wait")
    assert (code, "the receiver answered 503" in said) == (1, True)
    assert receiver.requests[-1].headers["X-Almirant-Test"] == "1"
    code, said = await ours("delivery", "show", row["delivery_id"])
    assert code == 0
    assert "\x1b" not in said
    code, said = await ours("event", "show", row["event_id"])
    assert (code, "succeeded" in said) == (0, True)


def test_unknown_ids_are_exit_1(shell: Shell) -> None:
    """Each in a sentence."""
    for words in (("delivery", "show"), ("delivery", "resend"), ("webhook", "enable"), ("event", "show")):
        assert "There is no" in shell.ours(*words, "nothing", code=1)


@pytest.mark.long
def test_what_a_restart_cannot_mend_is_exit_78(tmp_path: Path) -> None:
    """No database, not a database, another program's, a directory, no directory."""
    shell = Shell(tmp_path)
    database = tmp_path / "log.db"
    assert "migrate" in shell.ours("delivery", "list", code=78)
    database.write_bytes(b"this is not a database" * 100)
    for words in (("serve",), ("migrate",), ("delivery", "list")):
        assert "is not an SQLite database" in shell.ours(*words, code=78)
    database.unlink()
    conn = sqlite3.connect(database)
    conn.execute("CREATE TABLE orders (id)")
    conn.close()
    for words in (("serve",), ("migrate",)):
        assert "another program" in shell.ours(*words, code=78)
    database.unlink()
    database.mkdir()
    assert "is a directory" in shell.ours("migrate", code=78)
    shell.config.write_text('[database]\npath = "/nowhere/log.db"\n')
    assert "does not exist" in shell.ours("migrate", code=78)
    shell.config.write_text("[database]\npth = 1\n")
    assert "Did you mean database.path" in shell.ours("check-config", code=78)


@pytest.mark.parametrize("name", ["a b.db", "a?b.db", "a#b.db", "a%20b.db", "ä'\".db"])
def test_every_file_name_is_taken_as_it_stands(tmp_path: Path, name: str) -> None:
    """Spaces, ?, # and % are part of the name."""
    shell = Shell(tmp_path)
    path = json.dumps(str(tmp_path / name), ensure_ascii=False)
    shell.config.write_text(f"[database]\npath = {path}\n")
    shell.ours("migrate")
    assert (tmp_path / name).is_file()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        [name, f"{name}.keys", f"{name}.seal", "config.toml"]
    )


def test_wrong_usage_is_exit_2(shell: Shell) -> None:
    """An unknown command, a missing option, nothing to change."""
    for words, said in (
        (("delivry",), "No such command 'delivry'"),
        (("webhook", "create"), "Missing option '--project'"),
        (("webhook", "update", "wh_1"), "Nothing to change"),
        (("delivery", "list", "--since", "yesterday"), "yesterday"),
        (("delivery", "list", "--since", "999999999d"), "999999999d"),
        (("sign",), "Give --secret"),
    ):
        assert said in shell.run(*words, code=2, given="{}"), words


def test_sign_and_verify_agree(shell: Shell) -> None:
    """On standard input and on a file, for both kinds of signature."""
    body = shell.folder / "body.json"
    body.write_bytes(b'{"a": "\xc3\xa9"}')
    headers = json.loads(shell.run("sign", "--secret", SECRET, "--json", str(body)))
    assert verify.verify_almirant(body.read_bytes(), headers["X-Almirant-Signature"], SECRET)
    shell.run("verify", "--secret", SECRET, "--signature", headers["X-Almirant-Signature"], str(body))
    lines = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    shell.run("verify", "--secret", SECRET, *lines, "-", given=body.read_bytes())
    assert "is wrong" in shell.run("verify", "--secret", SECRET, *lines, "-", code=1, given=b"{}")
    assert "is wrong" in shell.run("verify", "--secret", "x" * 16, "--signature", "é", str(body), code=1)


def test_the_log_opens_without_the_network_s_libraries(shell: Shell) -> None:
    """`delivery list` imports neither aiohttp nor uvloop."""
    code = (
        "import sys; from almirant_webhooks.cli import main\n"
        f"sys.argv = ['almirant-webhooks', 'delivery', 'list', '--config', {str(shell.config)!r}]\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print([name for name in ('aiohttp', 'uvloop', 'aiosqlite') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_has_help(shell: Shell) -> None:
    """Down to the last subcommand, with the options of each."""
    for name in COMMANDS:
        assert "Usage:" in shell.run(name, "--help")
    assert "--wait" in shell.run("delivery", "resend", "--help")
    assert "complete" in shell.run("completion", "bash")
    assert "CREATE TABLE outbox" in shell.run("outbox-sql")


@pytest.mark.long
@pytest.mark.sqlite
def test_serve_stops_on_sigterm_and_a_second_daemon_is_exit_1(shell: Shell) -> None:
    """The first goes on; its end is exit 0."""
    words = [COMMAND, "serve", "--config", str(shell.config)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=dict(os.environ)) as first:
        assert first.stderr is not None
        while '"started"' not in first.stderr.readline():
            assert first.poll() is None
        assert "Another daemon" in shell.ours("serve", code=1)
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=20) == 0


def test_a_test_is_of_a_type_that_the_webhook_wants(shell: Shell) -> None:
    """Without --event the sample is of the first type of the catalogue that the webhook subscribes to."""
    create = ("webhook", "create", "--project", "p", "--url", "https://example.com/", "--event", "lead.*", "--json")
    webhook = json.loads(shell.ours(*create))["id"]
    delivery = json.loads(shell.ours("webhook", "test", webhook, "--json"))["delivery_id"]
    assert json.loads(shell.ours("delivery", "show", delivery, "--json"))["event_type"] == "lead.created"
    assert json.loads(shell.ours("delivery", "resend", delivery, "--json")) == {"delivery_id": delivery, "asked": False}


@pytest.mark.parametrize("data", ["{", '{"a": NaN}', "@missing.json", '{"a": ' + "1" * 5000 + "}", "[" * 9000])
def test_a_payload_that_cannot_be_sent_is_refused_with_a_sentence(shell: Shell, data: str) -> None:
    """Broken JSON, words that JSON does not have, a number beyond reading: exit 1."""
    send = ("event", "send", "--project", "p", "--type", "work_item.created", "--data", data)
    assert "error: " in shell.ours(*send, code=1)


def test_what_comes_from_a_receiver_cannot_drive_the_terminal() -> None:
    """Control characters, C1 and bidirectional ones too, are printed as escapes."""
    assert safe("\x1b]0;owned\x07\x9b\u202e\r") == "\\x1b]0;owned\\x07\\x9b\\u202e\\r"


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a terminal has a width."""
    print_table({"url": "URL"}, [{"url": "x" * 500}])
    assert "x" * 500 in capsys.readouterr().out


def test_a_project_has_at_most_as_many_webhooks_as_its_limit(shell: Shell) -> None:
    """The sentence names the key; other projects go on."""
    shell.config.write_text(shell.config.read_text() + "[limits]\nwebhooks_per_project = 2\n")
    create = ("webhook", "create", "--event", "*", "--url", "https://example.com/in", "--project")
    for _ in range(2):
        shell.ours(*create, "proj_1")
    said = shell.ours(*create, "proj_1", code=1)
    assert "Project proj_1 has 2 webhooks, and a project may have 2." in said
    assert "The configuration has the number at limits.webhooks_per_project." in said
    shell.ours(*create, "proj_2")
    assert len(json.loads(shell.ours("webhook", "list", "--project", "proj_1", "--json"))) == 2
