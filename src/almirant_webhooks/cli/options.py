"""Options that commands share, and who runs them with which rights."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import click

from ..model import Misconfigured
from ..ops import files, sealing
from ..settings.loading import load
from ..settings.schema import Settings

_NO_LOGIN = 2**32 - 1  # of a service, or where logins are not tracked (proc(5), loginuid)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _load(_: click.Context, __: click.Parameter, value: str | None) -> Settings:
    settings = load(value)
    actor()  # before the user changes
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


@cache
def actor() -> str:
    """Return who runs the command, as the audit trail names it: the system user, and who logged in before `sudo`."""
    user = _user_name(os.getuid())
    try:
        login = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        login = _NO_LOGIN
    if login in (_NO_LOGIN, os.getuid()):
        return f"user {user}"
    return f"user {_user_name(login)} as {user}"


def become_owner(settings: Settings) -> None:
    """Run as root, become the owner of the database's directory, so that no file of root's is left there.

    A key file of root's is read before.
    """
    if settings.database.url:  # there is no file of ours
        return
    folder = settings.database.path.absolute().parent
    if not folder.is_dir():
        raise Misconfigured(f"database.path: the directory {folder} does not exist; make it first.")
    for path in filter(None, (settings.database.path, settings.outbox.path)):
        files.check_link(path)
    existing = folder.stat()
    if os.geteuid() == 0 and existing.st_uid != 0:
        sealing.read_before_the_user_changes(settings)
        try:
            os.initgroups(pwd.getpwuid(existing.st_uid).pw_name, existing.st_gid)
        except KeyError:
            os.setgroups([])
        os.setgid(existing.st_gid)
        os.setuid(existing.st_uid)


def check_rights(path: Path, mode: int, what: str) -> None:
    """Raise `Misconfigured` with the user to run as when this one lacks the rights of a file that is there."""
    folder = path.absolute().parent
    if not os.access(folder, os.X_OK):
        existing = folder
    elif path.exists() and not os.access(path, mode):
        existing = path
    else:
        return
    owner = _user_name(existing.stat().st_uid)
    raise Misconfigured(f"{path} cannot be {what} by this user. Run the command as {owner}: sudo -u {owner} …")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
