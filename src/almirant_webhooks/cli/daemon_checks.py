"""Looks of `doctor` at the daemon's process: whether it runs and delivers, and what its limits allow."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from ..model import Misconfigured
from ..ops import limits
from ..settings.schema import Settings
from ..storage.sqlite import lock
from . import lock_holders
from .database import NOT_KNOWN, is_daemon_there
from .findings import Finding, ok

PROBE = 2.0  # seconds


def check_daemon(settings: Settings) -> Iterator[Finding]:
    """Whether it runs on the database, and says itself that it delivers."""
    is_there = is_daemon_there(settings)
    if is_there is False:
        yield Finding("daemon", "wrong", "It does not run on this database: systemctl start almirant-webhooks")
        return
    listen = settings.admin.listen
    if (listen is None or not listen[1]) and is_there is None:
        yield Finding("daemon", "warning", NOT_KNOWN)
    elif listen is None or not listen[1]:
        yield ok("daemon", "It runs. Whether it delivers was not asked, as there is no fixed admin.listen.")
    elif (problem := _ask(*listen)) is None:
        yield ok("daemon", "It runs and delivers.")
    elif is_there is None:
        yield Finding("daemon", "warning", f"{NOT_KNOWN} The one of this configuration: {problem}")
    else:
        yield Finding("daemon", "wrong", f"It runs, but {problem}")


def _ask(host: str, port: int) -> str | None:
    """Ask `/readyz`; return what is wrong in words, or None."""
    try:
        if ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
    except ValueError:  # a name
        pass
    try:
        with closing(HTTPConnection(host, port, timeout=PROBE)) as connection:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            if answer.status == 200:
                return None
            health = json.loads(answer.read(10_000))
    except TimeoutError:
        return f"/readyz on {host}:{port} did not answer within {PROBE:g} s."
    except (OSError, HTTPException, ValueError) as error:
        return f"/readyz on {host}:{port} could not be asked ({error}). Is this its configuration?"
    return f"it is not ready: {health.get('reason') if isinstance(health, dict) else health}."


def check_limits(settings: Settings) -> Iterator[Finding]:
    """What the limit of open files allows: the daemon's where this user may see it, else this user's own."""
    whose, files = "This user", limits.open_files()
    for process in lock_holders.users(lock.file_of(settings.database.path)) if not settings.database.url else ():
        try:
            whose, files = "The daemon", resource.prlimit(process, resource.RLIMIT_NOFILE)[0]
        except (OSError, ValueError):  # another user's, or it has ended
            continue
    configured = settings.delivery.concurrency
    try:
        fit = limits.fit(files, configured)
    except Misconfigured as error:
        yield Finding("limits", "wrong", str(error))
        return
    words = f"{whose} may have {files} files open: {fit.concurrency} requests at a time, {fit.idle} idle connections"
    if fit.concurrency < configured:
        yield Finding("limits", "warning", f"{words}. delivery.concurrency is {configured}; raise {limits.WAYS}.")
    else:
        yield ok("limits", f"{words}.")
