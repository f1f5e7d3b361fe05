"""The first hour: its commands in one shell, in their order, in a clone, with a receiver in Slack's place as the page has it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ..support.chats import CHECKS
from ..support.ports import free_port
from ..test_release import copy

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^<!-- tutorial -->\n```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TITLE = "Work item moved: SHOP-215 Prices show no cents"
MOVE = "python3 move.py\n"
LIMIT = 500  # seconds, on a machine that is busy; most of it is the installation


class Terminal:
    """A shell that is typed into, and all that it and what it began print."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "first-hour" / "almirant-webhooks.db"
        self.port = free_port()
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ALMIRANT_WEBHOOKS_ADMIN__LISTEN": f"127.0.0.1:{free_port()}",
            "PYTHONUNBUFFERED": "1",
        }
        self.shell = subprocess.Popen(
            ["bash", "-e"], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.end = threading.Timer(LIMIT, self.kill)
        self.end.start()
        self.printed: list[str] = []

    def kill(self) -> None:
        """End the shell and all that it began."""
        with suppress(ProcessLookupError):
            os.killpg(self.shell.pid, 9)

    def leave(self) -> int:
        """Leave the shell, with what it still prints; return its exit code."""
        self.shell.communicate(timeout=60)
        return self.shell.returncode

    def type(self, text: str) -> None:
        """Type commands; after an event is inserted, wait as a reader does until it was tried."""
        assert self.shell.stdin is not None
        before, move, after = text.replace("8421", str(self.port)).partition(MOVE)
        tried = self._tried() if move else 0
        self.shell.stdin.write(before + move)
        self.shell.stdin.flush()
        while move and self._tried() == tried:
            assert self.shell.poll() is None
            time.sleep(0.05)
        self.shell.stdin.write(after)
        self.shell.stdin.flush()

    def until(self, words: str) -> str:
        """Read on until a line has some words; return it."""
        assert self.shell.stdout is not None
        for line in self.shell.stdout:
            self.printed.append(line)
            if words in line:
                return line
        raise AssertionError(f"{words!r} is not in {''.join(self.printed)}")

    def _tried(self) -> int:
        conn = sqlite3.connect(self.database)
        try:
            return int(conn.execute("SELECT count(*) FROM attempt_log WHERE outcome IS NOT NULL").fetchone()[0])
        finally:
            conn.close()


@pytest.mark.slow
def test_the_first_hour_ends_with_a_message_for_slack(tmp_path: Path) -> None:
    """Each message is one that Slack takes, and what waits for a receiver arrives once it is back."""
    install, start, receiver, webhook, move, look, down, back, resend, end = BLOCKS
    clone = copy(tmp_path / "clone", 0o022)
    terminal = Terminal(clone)
    try:
        terminal.type(f"{install}command -v almirant-webhooks\n")
        terminal.until(f"{clone}/.venv/bin/almirant-webhooks\n")
        terminal.type(start)
        terminal.type(receiver)
        terminal.until("Listening on")
        terminal.type(webhook)
        terminal.until("work_item.moved  dlv_")
        CHECKS["slack"](json.loads(terminal.until('{"text"')))
        terminal.type(move)
        message = json.loads(terminal.until(TITLE))
        CHECKS["slack"](message)
        assert [field["text"] for field in message["blocks"][1]["fields"]] == ["*From*\nIn progress", "*To*\nIn review", "*By*\nAda"]  # fmt: skip
        terminal.type(look)
        assert "/portal/" in terminal.until("http://127.0.0.1:")
        assert sum("  200  " in line for line in terminal.printed) == 2
        terminal.type(down)
        terminal.until("  pending  ")
        terminal.type(back)
        terminal.until("Listening on")
        terminal.type(resend)
        assert "attempt 2" in terminal.until("work_item.moved  dlv_")
        terminal.until(TITLE)
        terminal.type(end)
        assert terminal.leave() == 0
    finally:
        terminal.end.cancel()
        terminal.kill()
        terminal.leave()
