"""The demo as a newcomer runs it: a process of its own, with nothing prepared."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from http.cookiejar import CookieJar
from itertools import takewhile
from pathlib import Path

import pytest

from almirant_webhooks.rules.event_types import CATALOGUE

COMMAND = str(Path(sys.executable).parent / "almirant-webhooks")


def _demo(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "demo", "--once", *words], capture_output=True, text=True, cwd=cwd, timeout=110)


@pytest.mark.long
def test_the_demo_delivers_everything_and_its_sums_add_up(tmp_path: Path) -> None:
    """Exit 0; the numbers that it prints are those of the log that it leaves behind."""
    folder = tmp_path / "a demo's place"
    done = _demo("--directory", folder.name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    conn = sqlite3.connect(folder / "demo.db")
    events, deliveries, delivered, attempts, retried = conn.execute(
        "SELECT (SELECT count(*) FROM outbox), count(*), sum(state = 'succeeded'), sum(attempts), sum(attempts > 1) "
        "FROM delivery_log"
    ).fetchone()
    types = {row[0] for row in conn.execute("SELECT event_type FROM delivery_log WHERE status = '200'")}
    conn.close()
    assert types == set(CATALOGUE)
    assert re.search(r"^Pages      http://127\.0\.0\.1:\d+/portal/\S+$", done.stdout, re.MULTILINE)
    assert (events, deliveries, delivered, retried) == (9, 13, 13, 4)
    for line in (
        f"Events in            {events} of 9, one of each type",
        f"Deliveries           {deliveries}, delivered {delivered}, of them retried {retried}",
        f"Attempts             {attempts} = {deliveries} first ones + {attempts - deliveries} retries",
        f"Signatures verified  {attempts} of {attempts}, the customer's way and as Standard Webhooks",
        "Everything was delivered.",
    ):
        assert line in done.stdout.splitlines()
    assert re.search(r"Schedule .*shortened for the demo", done.stdout)
    _follow(done.stdout.partition("Look further:\n")[2], tmp_path)


def _follow(printed: str, cwd: Path) -> None:
    """Run each command that the demo names, as it stands."""
    lines = printed.strip().splitlines()
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line)
        if words[0] == "sqlite3":
            conn = sqlite3.connect(words[1])
            assert conn.execute(words[2]).fetchall()
            conn.close()
        else:
            done = subprocess.run(words, capture_output=True, text=True, cwd=cwd)
            assert (done.returncode, bool(done.stdout)) == (0, True), (line, done.stderr)


@pytest.mark.long
def test_a_directory_with_an_earlier_demo_is_refused(tmp_path: Path) -> None:
    """Exit 1 with a sentence; the earlier demo's log stays as it is."""
    (tmp_path / "demo.db").write_bytes(b"kept")
    done = _demo("--directory", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "holds an earlier demo" in done.stderr
    assert (tmp_path / "demo.db").read_bytes() == b"kept"


def _browser(folder: Path) -> tuple[str, Path]:
    """Make a browser that writes down what it is to open; return it as `BROWSER` wants it, and where it writes."""
    opened, program = folder / "opened", folder / "browser"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {shlex.quote(str(opened))}.part && mv {opened}.part {opened}\n')
    program.chmod(0o755)
    return f"{program} %s", opened


@pytest.mark.slow
def test_the_demo_s_pages_show_a_receiver_that_fails_and_recovers(tmp_path: Path) -> None:
    """By the link that the browser opens, while somebody looks: all nine events, four failing deliveries, then none."""
    browser, opened = _browser(tmp_path)
    words = [COMMAND, "demo", "--open", "--directory", "place"]
    with subprocess.Popen(
        words, cwd=tmp_path, env={**os.environ, "BROWSER": browser}, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        limit = threading.Timer(120, demo.kill)
        limit.start()
        lines = list(takewhile(lambda line: not line.startswith("Schedule"), demo.stdout))
        while not opened.exists():
            assert demo.poll() is None
        link = opened.read_text()
        pages = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        address = link.partition("/portal/")[0]
        press = urllib.request.Request(link, data=b"", headers={"Origin": address})  # the button that the link shows
        with pages.open(press, timeout=10) as answer:
            assert answer.url == f"{address}/deliveries"

        types: set[str] = set()  # which the look shows

        def look() -> Counter[tuple[str, str]]:
            """Return how many deliveries of which state and status the list shows."""
            assert demo.poll() is None
            with pages.open(f"{address}/deliveries", timeout=10) as answer:
                shown = answer.read().decode()
            types.update(re.findall(r'class="event"><code>([a-z_.]+)<', shown))
            return Counter(re.findall(r'class="is-(\w+)">.*?class="status [\w -]+">(\w+)<', shown, re.DOTALL))

        while look() != {("succeeded", "200"): 9, ("pending", "500"): 4}:
            types.clear()
        assert types == set(CATALOGUE)
        while look() != {("succeeded", "200"): 13}:
            pass
        lines += takewhile(lambda line: not line.startswith("The daemon goes on"), demo.stdout)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0
        limit.cancel()
    assert f"Pages      {link}\n" in lines
    assert "Attempts             25 = 13 first ones + 12 retries\n" in lines
    assert "Events in            9 of 9, one of each type\n" in lines


@pytest.mark.long
def test_without_a_browser_the_demo_says_where_its_pages_are(tmp_path: Path) -> None:
    """And `--once`, which ends them at once, does not go with them."""
    both = _demo("--open", cwd=tmp_path)
    assert both.returncode == 2
    assert "--once ends the pages that --open shows" in both.stderr
    words = [COMMAND, "demo", "--open", "--directory", "place"]
    nothing = {"PATH": "/nowhere", "HOME": str(tmp_path), "BROWSER": "/nowhere/browser"}
    with subprocess.Popen(words, cwd=tmp_path, env=nothing, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert any(line.startswith("No browser could be opened here") for line in demo.stdout)
        demo.send_signal(signal.SIGTERM)
        demo.wait(20)
