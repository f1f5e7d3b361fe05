"""Log lines: one record is one line, of the wanted level, and journald is told its priority."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from almirant_webhooks.ops import logs


@pytest.fixture(autouse=True)
def _defaults_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The configuration is the process's: each test leaves it as it was."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def journalled(path: Path, monkeypatch: pytest.MonkeyPatch) -> io.TextIOWrapper:
    """Open a stream that systemd says it connected to the journal."""
    stream = path.open("w", encoding="utf-8")
    there = os.fstat(stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
    return stream


def test_a_record_is_one_line_of_json_where_there_is_no_terminal() -> None:
    """With its name, level and UTC time, and letters of every script as they are."""
    out = io.StringIO()
    logs.configure("info", "auto", out)
    structlog.get_logger().info("delivery_failed", cause="čas\nvypršel")
    record = json.loads(out.getvalue())
    assert (record["event"], record["level"], record["cause"]) == ("delivery_failed", "info", "čas\nvypršel")
    assert record["timestamp"].endswith("Z")
    assert out.getvalue().count("\n") == 1
    assert "čas" in out.getvalue()


def test_auto_is_the_console_on_a_terminal() -> None:
    """A person reads it; a program gets JSON."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    logs.configure("info", "auto", out)
    structlog.get_logger().info("started")
    assert "started" in out.getvalue()
    assert not out.getvalue().startswith("{")


def test_what_is_below_the_level_is_not_written() -> None:
    """At `warning` neither info nor debug appears."""
    out = io.StringIO()
    logs.configure("warning", "json", out)
    log = structlog.get_logger()
    log.debug("quiet")
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]


def test_an_exception_stays_inside_its_record() -> None:
    """Its lines are a field of the JSON, not lines of the log."""
    out = io.StringIO()
    logs.configure("info", "json", out)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("crashed")
    assert "ValueError: broken" in json.loads(out.getvalue())["exception"]
    assert out.getvalue().count("\n") == 1


def test_an_exception_on_the_console_shows_no_values_of_variables() -> None:
    """They may be tokens, secrets and payloads."""
    out = io.StringIO()
    logs.configure("info", "console", out)
    given = bytes.fromhex("746f6b656e").decode()
    try:
        raise ValueError(len(given))
    except ValueError:
        structlog.get_logger().exception("request failed", path="/")
    written = out.getvalue()
    assert "Traceback" in written
    assert "token" not in written


def test_the_journal_is_told_each_line_s_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """<7> for debug to <3> for an error, before the record."""
    path = tmp_path / "journal"
    with journalled(path, monkeypatch) as stream:
        logs.configure("debug", "json", stream)
        log = structlog.get_logger()
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>"]
    assert [json.loads(line[3:])["event"] for line in lines] == ["a", "b", "c", "d"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_receiver_s_line_separator_does_not_cut_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    """journald ends a line at LF alone, and so do the priorities: a record stays whole JSON."""
    path = tmp_path / "journal"
    with journalled(path, monkeypatch) as stream:
        logs.configure("info", "json", stream)
        structlog.get_logger().info("failed", cause=f"one{separator}two")
    (line, end) = path.read_text(encoding="utf-8").split("\n")
    assert end == ""
    assert json.loads(line.removeprefix("<6>"))["cause"] == f"one{separator}two"


def test_another_stream_than_the_journal_s_gets_no_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`2>file` in a unit, or a shell started from one."""
    journalled(tmp_path / "journal", monkeypatch).close()
    path = tmp_path / "elsewhere"
    with path.open("w", encoding="utf-8") as stream:
        logs.configure("info", "json", stream)
        structlog.get_logger().info("started")
    assert path.read_text(encoding="utf-8").startswith("{")
    assert not logs.goes_to_journal(io.StringIO())
