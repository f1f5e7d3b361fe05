"""Printing: tables that fit the terminal, JSON, and nothing that could drive a terminal."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from ..model import Refused


def safe(value: object) -> str:
    """Write a value with control characters as escapes: a receiver's answer must not reach the terminal as commands."""
    text = "" if value is None else str(value)
    return "".join(_escape(char) if unicodedata.category(char) in ("Cc", "Cf", "Cs") else char for char in text)


def safe_lines(text: str) -> str:
    """Write a text of several lines with every other control character as an escape."""
    return "\n".join(safe(line) for line in text.split("\n"))


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii") if char != "\t" else "\\t"


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True, default=str))


def print_table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under headings; on a terminal the widest columns give way until the table fits."""
    cells = [[safe(row[key]) for key in columns] for row in rows]
    widths = [max(len(line[at]) for line in [list(columns.values()), *cells]) for at in range(len(columns))]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
        while sum(widths) > room and max(widths) > 8:
            widths[widths.index(max(widths))] -= 1
    for line in [list(columns.values()), *cells]:
        shown = [_fit(cell, width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(shown).rstrip())


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values, a line each; a truth as yes or no."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else safe(value)
        click.echo(f"{name.ljust(width)}  {text}")


def confirm(question: str, refusal: str = "") -> None:
    """Ask a person, and end the command on a no; raises `Refused`, with its own words if they are given, where nobody answers."""
    if not sys.stdin.isatty():
        raise Refused(refusal or f"{question} Say --yes.")
    click.confirm(question, abort=True, err=True)


def say(sentence: str) -> None:
    """Print talk, which goes to standard error; that it cannot be written there fails no command."""
    with suppress(OSError):
        click.echo(sentence, err=True)
