"""Options that commands share, and the database as commands open it."""

from __future__ import annotations

import os
import pwd
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from .. import clock
from ..config import Settings, load
from ..db.connection import open_database, open_reader, transaction
from ..model import Misconfigured

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _load(_: click.Context, __: click.Parameter, value: str | None) -> Settings:
    settings = load(value)
    become_owner(settings)
    return settings


def config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--config` and the argument `settings`."""
    return click.option(
        "--config",
        "settings",
        callback=_load,
        metavar="FILE",
        help="The configuration file [default: $ALMIRANT_WEBHOOKS_CONFIG, else /etc/almirant-webhooks/config.toml].",
    )(command)


class Time(click.ParamType[datetime]):
    """A point in time: `2026-01-31T09:30:00Z`, `2026-01-31`, or how long ago it was: `2h`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the time; how long ago is counted from now."""
        try:
            return clock.now() - clock.duration(value)
        except ValueError:
            pass
        try:
            return clock.parse(value)
        except ValueError as error:
            self.fail(f"{error}, or as how long ago: 2h", param, ctx)


def become_owner(settings: Settings) -> None:
    """Run as root, become the owner of the database's directory, so that no file of root's is left there."""
    folder = settings.database.path.absolute().parent
    if not folder.is_dir():
        raise Misconfigured(f"database.path: the directory {folder} does not exist; make it first.")
    there = folder.stat()
    if os.geteuid() == 0 and there.st_uid != 0:
        try:
            os.initgroups(pwd.getpwuid(there.st_uid).pw_name, there.st_gid)
        except KeyError:
            os.setgroups([])
        os.setgid(there.st_gid)
        os.setuid(there.st_uid)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    if path.exists() and not os.access(path, os.R_OK):
        owner = pwd.getpwuid(path.stat().st_uid).pw_name
        raise Misconfigured(f"{path} cannot be read by this user. Run the command as {owner}: sudo -u {owner} …")
    yield


@contextmanager
def writing(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Open the database and begin a transaction, which is committed when the block ends."""
    path = settings.database.path
    with _explained(path):
        if path.exists() and not os.access(path, os.W_OK):
            owner = pwd.getpwuid(path.stat().st_uid).pw_name
            raise Misconfigured(f"{path} cannot be written by this user. Run the command as {owner}: sudo -u {owner} …")
        conn = open_database(path)
    try:
        with transaction(conn):
            yield conn
    finally:
        conn.close()


@contextmanager
def reading(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Open the database for reading alone."""
    with _explained(settings.database.path):
        conn = open_reader(settings.database.path)
    try:
        yield conn
    finally:
        conn.close()
