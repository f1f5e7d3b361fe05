"""Standard input, output and error that are closed, full, or read by nobody: a sentence or nothing, never a traceback."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from ..support.service import Service
from ..support.shell import Shell
from .test_cli import COMMAND

WEBHOOK = ("webhook", "create", "--project", "p", "--url", "https://example.com/", "--event", "*")
# One of each kind with its exit code: tables, text, JSON, a change.
COMMANDS = (
    (("doctor",), 1),
    (("check-config", "--show"), 0),
    (WEBHOOK, 0),
    (("webhook", "list"), 0),
    (("webhook", "list", "--json"), 0),
    (("stats",), 0),
)


def run(
    shell: Shell, *words: str, streams: str, config: bool = True, unbuffered: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command as a process, with its streams as a shell's redirections say."""
    if config:
        words = (*words, "--config", str(shell.config))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else ""}
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", COMMAND, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=shell.folder,
        env=environment,
        check=False,
    )


@pytest.mark.long
def test_with_its_output_closed_every_command_does_its_work(shell: Shell) -> None:
    """As with /dev/null: whoever closes it wants none."""
    for words, code in COMMANDS:
        done = run(shell, *words, streams=">&-")
        assert (done.returncode, done.stderr) == (code, ""), words
    assert shell.ours("webhook", "list", "--json").count('"id"') == 1


@pytest.mark.long
@pytest.mark.sqlite
def test_with_standard_error_closed_or_full_the_exit_code_is_the_same(shell: Shell) -> None:
    """What is said beside the output is lost; it is not written among the output, and nothing fails for it."""
    for words, code in ((("check-config",), 0), (("webhook", "show", "wh_none"), 1), (("webhook", "nonsense"), 2)):
        for streams in ("2>&-", "2>/dev/full"):
            done = run(shell, *words, streams=streams)
            assert (done.returncode, done.stdout) == (code, ""), (words, streams)
    assert run(shell, "backup", "copy.db", "--json", streams="2>/dev/full").returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("unbuffered", [False, True])
def test_output_that_cannot_be_written_is_an_error_that_names_it(shell: Shell, unbuffered: bool) -> None:
    """On a full disk, say: a script must not take half a list for the whole of it."""
    for words in (("stats",), ("webhook", "list", "--json")):
        done = run(shell, *words, streams=">/dev/full", unbuffered=unbuffered)
        assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device.\n")
    done = run(shell, "--help", streams=">/dev/full", config=False, unbuffered=unbuffered)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device.\n")


def test_a_print_that_no_flush_followed_is_not_lost_in_silence() -> None:
    """What the interpreter would write at its end is written before the exit code is known."""
    code = "import sys; from almirant_webhooks import cli; cli.root = lambda **_: print('x'); cli.main()"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: standard output: No space left on device.\n")


@pytest.mark.long
def test_whoever_reads_the_output_may_go_away(shell: Shell) -> None:
    """As `head` does: exit 1 without a word."""
    for words in (("audit",), ("stats",)):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            done = subprocess.run(
                [COMMAND, *words, "--config", shell.config], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (done.returncode, done.stderr) == (1, ""), words


@pytest.mark.long
def test_reading_from_a_closed_input_is_refused(shell: Shell) -> None:
    """An empty body is not what the caller meant; a question that cannot be answered says which option answers it."""
    sign = run(shell, "sign", "--secret", "s" * 16, streams="<&-", config=False)
    assert (sign.returncode, sign.stderr) == (1, "error: standard input: it is closed.\n")
    send = run(shell, "event", "send", "--project", "p", "--type", "lead.created", "--data", "-", streams="<&-")
    assert (send.returncode, send.stderr) == (1, "error: standard input cannot be read: it is closed.\n")
    rotate = run(shell, "token", "--rotate", streams="<&-")
    assert rotate.returncode == 1
    assert "Say --yes" in rotate.stderr


@pytest.mark.long
def test_the_daemon_stops_cleanly_with_its_input_and_output_closed(shell: Shell) -> None:
    """Their numbers are not given to its sockets, which libuv would not close."""
    said = shell.folder / "log"
    words = ["sh", "-c", 'exec "$@" <&- >&-', "sh", COMMAND, "serve", "--config", str(shell.config)]
    with said.open("w") as log, subprocess.Popen(words, stderr=log) as daemon:
        while '"started"' not in said.read_text():
            assert daemon.poll() is None
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(20) == 0
    assert "Assertion" not in said.read_text()


@pytest.mark.long
async def test_listen_ends_when_what_it_prints_goes_nowhere() -> None:
    """The request is answered all the same; then exit 1, as any command."""
    reading, writing = os.pipe()
    receiver = await asyncio.create_subprocess_exec(
        COMMAND, "listen", "--port", "0", stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    assert receiver.stderr is not None
    url = next(word for word in (await receiver.stderr.readline()).decode().split() if word.startswith("http://"))
    os.close(reading)
    async with aiohttp.ClientSession() as session, session.post(url, json={}) as answer:
        assert answer.status == 200
    assert await asyncio.wait_for(receiver.wait(), 20) == 1
    assert await receiver.stderr.read() == b""


def test_a_payload_s_byte_order_mark_is_no_part_of_it(service: Service) -> None:
    """Some editors write one at the beginning of a file."""
    service.migrate()
    shell = service.shell()
    (shell.folder / "payload.json").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    shell.ours("event", "send", "--project", "p", "--type", "lead.created", "--data", "@payload.json")
    assert tuple(service.ask("SELECT payload FROM outbox")) == ('{"a": 1}',)
