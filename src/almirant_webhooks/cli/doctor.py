"""`almirant-webhooks doctor`: looks at what can be wrong, and says what to do."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from .. import clock
from ..model import Misconfigured, Refused
from ..rules.event_types import NOTICE_PREFIX, NOTICES, patterns_for
from ..rules.selection import AuditSelection
from ..settings.schema import Settings
from ..storage.engine import StorageError
from ..storage.sql import audit, health, reserved_types
from ..storage.sqlite import journal, library, migrate, outbox, sharing, tables, trial
from ..storage.sqlite import stats as numbers
from ..storage.sqlite.connection import open_database
from ..storage.sqlite.errors import session
from . import lock_holders
from .daemon_checks import check_daemon, check_limits
from .database import reading, reading_outbox, reads
from .findings import Finding
from .findings import ok as _ok
from .options import as_json, config
from .output import print_json, print_table
from .postgres_checks import check_postgres
from .proxy_check import check_proxy
from .sealing_checks import check_secrets

LONG_WAL = 256 * 1024 * 1024
LITTLE_ROOM = 1024 * 1024 * 1024
BACKLOG = 300.0  # seconds
UNREAD = 60.0
SKEW = 60.0
LOCK_WAIT = 2.0
CHECKED = 256 * 1024 * 1024  # bytes of a database that are looked through without --deep
OLD_COPY = timedelta(days=7)
CLOCK_SINCE = timedelta(days=1)  # answers of before it tell nothing of the clock of today
DNS_WAIT = 5.0
# The releases that have the fix of https://www.sqlite.org/wal.html#the_wal_reset_bug
_FIXED = {(3, 44): 6, (3, 50): 7}


@click.command()
@click.option("--deep", is_flag=True, help="Look through the whole database for damage too, of any size.")
@as_json
@config
def doctor(settings: Settings, as_json: bool, deep: bool) -> None:
    """Look at everything that can be wrong, and say what to do; exit 1 if something is."""
    findings = [Finding("configuration", "ok", "It loads.")]
    of_files = () if settings.database_place else (_files, _sqlite)
    of_state = () if settings.database_place else (_locks, _integrity, _disk)
    checks = (
        *of_files,
        check_daemon,
        check_limits,
        check_secrets,
        check_postgres,
        *of_state,
        _work,
        check_proxy,
        _receivers,
    )
    for check in checks:
        try:
            findings += check(settings)
        except (Refused, Misconfigured, StorageError) as error:
            reason = str(error.explained("the database") if isinstance(error, StorageError) else error)
            is_known = any(finding.words == reason for finding in findings)
            words = "Not looked at, for the same reason as above." if is_known else reason
            findings.append(Finding(check.__name__.removeprefix("check_").strip("_"), "wrong", words))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        columns = {"check": "CHECK", "result": "RESULT", "words": "WHAT TO KNOW OR DO"}
        print_table(columns, [finding._asdict() for finding in findings])
        for finding in findings:
            if finding.sql:
                click.echo(f"\n-- {finding.check}\n{finding.sql}", nl=False)
    if any(finding.result == "wrong" for finding in findings):
        raise click.exceptions.Exit(1)


def _files(settings: Settings) -> Iterator[Finding]:
    """Rights of the database, the outbox and their directories."""
    database = settings.database.path.absolute()
    paths = [("database", database)]
    if settings.outbox.path is not None:
        paths.append(("outbox", settings.outbox.path.absolute()))
    for name, path in paths:
        if not path.exists():
            yield Finding(f"{name} file", "wrong", f"There is no file {path}; run `almirant-webhooks migrate`.")
            continue
        status, folder = path.stat(), path.parent.stat()
        mode = stat.S_IMODE(status.st_mode)
        if name == "database" and mode & 0o007:
            words = f"{path} can be opened by everyone, and holds secrets: chmod 0640 {path}"
            yield Finding(f"{name} file", "wrong", words)
        elif not os.access(path.parent, os.W_OK | os.X_OK):
            words = f"This user cannot write to {path.parent}, as SQLite needs to beside {path.name}."
            yield Finding(f"{name} file", "warning", words)
        elif name == "outbox" and folder.st_mode & stat.S_ISGID and not mode & 0o020:
            yield Finding(f"{name} file", "wrong", f"Producers of its group cannot write to {path}: chmod 0660 {path}")
        elif name == "outbox" and (problem := sharing.kept_out(path)):
            yield Finding(f"{name} file", "wrong", problem)
        elif status.st_uid != folder.st_uid and name == "database":
            yield Finding(f"{name} file", "wrong", f"{path} belongs to another user than its directory; chown it.")
        else:
            yield _ok(f"{name} file", f"{path}, mode {mode:04o}.")


def _sqlite(settings: Settings) -> Iterator[Finding]:
    """The library's version, and the journal mode."""
    version = library.VERSION
    fixed = version >= (3, 51, 3) or version[2] >= _FIXED.get(version[:2], 10**6) or version < (3, 7, 0)
    words = f"SQLite {library.VERSION_WORDS} ({library.OLDEST_WORDS} or newer is needed, in producers too)"
    if fixed:
        yield _ok("SQLite", f"{words}.")
    else:
        more = "has a rare race between two checkpointers, which one daemon for each file avoids; 3.51.3 is free of it."
        yield Finding("SQLite", "warning", f"{words} {more}")
    with reading(settings) as conn:
        mode = journal.mode(conn)
    if mode == "wal":
        yield _ok("journal", "The database is in WAL mode.")
    else:
        words = f"The database is in {mode} mode: a reader stops all deliveries. Start the daemon anew, which mends it."
        yield Finding("journal", "wrong", words)
    if settings.outbox_place is not None:
        return
    with reading_outbox(settings) as conn:
        if settings.outbox.path is not None and (problem := journal.caution(conn)):
            yield Finding("outbox journal", "warning", problem)
        schema = tables.schema_version(conn)
    if schema < outbox.SCHEMA_VERSION:
        yield _older_outbox((settings.outbox.path or settings.database.path).absolute(), schema)


def _older_outbox(path: Path, schema: int) -> Finding:
    words = (
        f"{path} has outbox schema {schema}, without an index by project: a project that inserts many rows at once makes "
        f"others wait. `almirant-webhooks migrate` brings it to schema {outbox.SCHEMA_VERSION}; so does the SQL below, "
        f"or that of `almirant-webhooks outbox-sql --from {schema}` in a migration of the application."
    )
    sql = f"BEGIN IMMEDIATE;\n\n{migrate.outbox_upgrade_sql(schema)}\nCOMMIT;\n"
    return Finding("outbox schema", "warning", words, sql)


def _locks(settings: Settings) -> Iterator[Finding]:
    """A writer that does not end, a producer that could not insert, and a reader that keeps the WAL from being cut."""
    database = settings.database.path.absolute().resolve()
    if not os.access(database, os.W_OK):
        yield Finding("locks", "warning", "Not looked at: this user cannot write to the database.")
        return
    with session(open_database(database)) as conn:
        yield _lock("database lock", database, numbers.lock_wait(conn, LOCK_WAIT))
    outbox_path = (settings.outbox.path or database).absolute().resolve()
    if settings.outbox_place is None:
        yield from _outbox_lock(settings, outbox_path)
    for path in dict.fromkeys((database, outbox_path)):
        name, wal = "WAL" if path == database else "outbox WAL", numbers.sizes(path)["wal"]
        if wal > LONG_WAL:
            readers = lock_holders.named(lock_holders.stuck_readers(path))
            words = f"{wal // 2**20} MiB: a reader keeps it from being cut. Processes that read all the time: {readers}; that have it open: {lock_holders.named(lock_holders.users(path))}."
            yield Finding(name, "warning", words)
        else:
            yield _ok(name, f"{wal / 2**20:.1f} MiB.")


def _outbox_lock(settings: Settings, outbox_path: Path) -> Iterator[Finding]:
    with session(outbox.open_outbox(settings.database.path, settings.outbox.path)) as conn:
        free = numbers.lock_wait(conn, LOCK_WAIT)
        yield _lock("outbox lock", outbox_path, free)
        if free and (problem := trial.insert(conn)) is not None:
            yield Finding("producers", "wrong", f"An INSERT into the outbox fails: {problem}.")
        elif free and (problem := trial.mark(conn)) is not None:
            yield Finding("producers", "wrong", f"The daemon cannot mark a row of the outbox: {problem}.")
        elif free:
            yield _ok("producers", "An INSERT into the outbox works (it was rolled back).")


def _lock(name: str, path: Path, free: bool) -> Finding:
    if free:
        return _ok(name, "It can be written.")
    by = lock_holders.named(lock_holders.writer(path) or lock_holders.users(path))
    return Finding(name, "wrong", f"A transaction is held open for over {LOCK_WAIT:g} s, by {by}: end it.")


def _integrity(settings: Settings) -> Iterator[Finding]:
    """Whether the file is whole, and how old the newest copy of it is."""
    size = numbers.sizes(settings.database.path)["database"]
    deep = click.get_current_context().params["deep"]
    with reading(settings) as conn:
        if not deep and size > CHECKED:
            yield _ok("integrity", f"Not looked at, since that would read {size // 2**20} MiB: `doctor --deep` does.")
        elif (verdict := numbers.integrity(conn, deep=deep)) == "ok":
            yield _ok("integrity", "The database is whole.")
        else:
            words = f"The database is damaged ({verdict}). Stop the daemon, keep the file, and restore a backup."
            yield Finding("integrity", "wrong", words)
        copies = audit.entries(conn, AuditSelection(action="backup.created"), limit=1)
    if not copies:
        yield Finding("backup", "warning", "None was made by `almirant-webhooks backup` yet.")
        return
    age = clock.now() - clock.parse(copies[0]["at"])
    words = f"The last one by `almirant-webhooks backup` was made at {copies[0]['at']}."
    yield Finding("backup", "warning", f"{words} Is the timer at work?") if age > OLD_COPY else _ok("backup", words)


def _disk(settings: Settings) -> Iterator[Finding]:
    free = numbers.sizes(settings.database.path)["disk_free"]
    words = f"{free // 2**20} MiB free."
    if free < LITTLE_ROOM:
        yield Finding("disk", "warning", f"{words} Make room, or shorten the keys of retention and run prune.")
    else:
        yield _ok("disk", words)


def _work(settings: Settings) -> Iterator[Finding]:
    """The age of what waits, and webhooks that fail everything."""
    now = clock.now()
    with reading(settings) as conn:
        waiting, failing = numbers.pending(conn, now), health.failing(conn)
        offset = numbers.clock_offset(conn, now - CLOCK_SINCE)
        own = {pattern for notice in NOTICES for pattern in patterns_for(notice)}
        types = reserved_types.in_use(conn, own)
    with reading_outbox(settings) as conn:
        unread = reads(settings).stats.outbox(conn, now)
    age = waiting["oldest_due_seconds"]
    words = (
        f"{waiting['due']} due, the oldest for {age:.0f} s; {waiting['scheduled']} scheduled, {waiting['held']} held."
    )
    more = " Does the daemon run, and are its receivers slow (delivery.concurrency_per_webhook)?"
    yield Finding("backlog", "warning", words + more) if age > BACKLOG else _ok("backlog", words)
    words = f"{unread['unread']} rows unread, the first for {unread['oldest_unread_seconds']:.0f} s."
    late = unread["oldest_unread_seconds"] > UNREAD
    yield Finding("outbox", "warning", f"{words} Does the daemon run?") if late else _ok("outbox", words)
    if unread["rejected"]:
        words = f"{unread['rejected']} rows cannot be sent; see `almirant-webhooks event list --rejected`."
        yield Finding("rejected", "warning", words)
    if types:
        words = (
            f"Types that begin with {NOTICE_PREFIX} are the service's own, and a producer's row with one is rejected. "
            f"Events or webhooks here have {', '.join(types)}: give them another name, in producers and in webhooks."
        )
        yield Finding("event types", "warning", words)
    for webhook, since in failing.items():
        yield Finding("failing webhook", "warning", f"{webhook} has failed everything since {since}.")
    if offset is None:
        yield _ok("clock", "No receiver has answered in a day; nothing to compare with.")
    elif abs(offset) > SKEW:
        words = f"It is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} receivers' clocks; set it (timedatectl)."
        yield Finding("clock", "wrong", words)
    else:
        yield _ok("clock", f"Within {max(1, abs(offset)):.0f} s of receivers' clocks.")


def _receivers(settings: Settings) -> Iterator[Finding]:
    """Whether the names of receivers are found. A proxy looks them up itself."""
    if settings.egress.proxy:
        return
    with reading(settings) as conn:
        hosts = numbers.hosts(conn)
    threads = ThreadPoolExecutor(16)
    lookups: dict[str, Any] = {host: threads.submit(socket.getaddrinfo, host.strip("[]"), 443) for host in hosts}
    lost = []
    for host, answer in lookups.items():
        try:
            answer.result(DNS_WAIT)
        except (OSError, UnicodeError, TimeoutError):
            lost.append(host)
    threads.shutdown(wait=False, cancel_futures=True)
    if not lost:
        yield _ok("DNS", f"{len(hosts)} hosts of webhooks are found.")
    elif len(lost) == len(hosts) and len(hosts) > 1:
        yield Finding("DNS", "wrong", "No host of any webhook is found: look at /etc/resolv.conf and the network.")
    else:
        yield Finding("DNS", "warning", f"Not found: {', '.join(lost)}.")
