"""Looks of `doctor` at an outbox in PostgreSQL: whether it is there, can be written, and wakes the daemon."""

from __future__ import annotations

from collections.abc import Iterator

from ..rules.buckets import BUCKETS
from ..rules.postgres_urls import Place
from ..settings.schema import Settings
from ..storage.engine import Denied, Session
from .findings import Finding, ok

HEARD_WITHIN = 3.0  # seconds


def check_postgres(settings: Settings) -> Iterator[Finding]:
    """Connect as the daemon does; raises `Misconfigured` or `Refused` where that fails."""
    place = settings.outbox_place
    if (everything := settings.database_place) is not None:
        yield from _check_database(settings, everything, is_outbox_apart=place is not None)
    if place is not None:
        from ..storage.postgres import opening

        with opening.opened(place) as session:
            opening.check_is_no_database(session)
            yield from _check_server(session, place)
            yield from _check_outbox(session, place)
    if (where := place or everything) is not None:
        yield _check_notify(settings, where)


def _check_database(settings: Settings, place: Place, *, is_outbox_apart: bool) -> Iterator[Finding]:
    from ..storage.postgres import apart, daemons, stats
    from .postgres_database import opened

    with opened(settings) as session:
        yield from _check_server(session, place)
        if not is_outbox_apart:
            yield from _check_outbox(session, place)
        elif stats.unread_rows(session)[1]:
            yield Finding("left rows", "wrong", apart.LEFT_IN_DATABASE)
        for daemon in daemons.listed(session):
            words = f"{daemon['name']} owns {daemon['buckets']} of {BUCKETS} buckets with {daemon['projects']} projects, since {daemon['since']}."
            yield ok("daemons", words)
        if missing := daemons.missing_buckets(session):
            words = (
                f"{missing} of {BUCKETS} rows of the table buckets were deleted: no daemon delivers for their projects. "
                "`almirant-webhooks migrate` puts them back, with the daemons running too."
            )
            yield Finding("buckets", "wrong", words)


def _check_server(session: Session, place: Place) -> Iterator[Finding]:
    from ..storage.postgres import figures

    server = figures.server(session)
    words = f"{place}: PostgreSQL {server.version}, as {server.role}."
    if server.read_only:
        more = "It is read-only (a standby?): nothing is taken from it. See target_session_attrs in docs/postgresql.md."
        yield Finding("PostgreSQL", "wrong", f"{words} {more}")
        return
    yield ok("PostgreSQL", words)
    if (oldest := server.oldest_transaction) > figures.LONG_TRANSACTION:
        words = (
            f"A transaction is open for {oldest:.0f} s in this database: rows that were marked since stay in the way of "
            "each read until it ends. SELECT pid, state, query FROM pg_stat_activity ORDER BY xact_start shows it."
        )
        yield Finding("transactions", "warning", words)


def _check_outbox(session: Session, place: Place) -> Iterator[Finding]:
    from ..storage.postgres import figures, scripts, tables, trial

    if (version := tables.schema_version(session)) < scripts.SCHEMA_VERSION:
        yield _older_outbox(place, version)
    if figures.server(session).read_only:
        yield Finding("producers", "warning", "Not tried: nothing can be inserted into a PostgreSQL that is read-only.")
        return
    inserting, marking = trial.insert_and_mark(session)
    if inserting is not None:
        yield Finding("producers", "wrong", f"An INSERT into the outbox fails: {inserting}")
    elif marking is not None:
        yield Finding("producers", "wrong", f"The daemon cannot mark a row of the outbox: {marking}")
    else:
        yield ok("producers", "An INSERT into the outbox works (it was rolled back).")


def _older_outbox(place: Place, version: int) -> Finding:
    from ..storage.postgres import scripts

    words = (
        f"{place} has outbox schema {version}: where standard_conforming_strings is off, an INSERT fails. "
        f"`almirant-webhooks migrate` brings it to schema {scripts.SCHEMA_VERSION}; so does the SQL below, or that of "
        f"`almirant-webhooks outbox-sql --postgres --schema {place.schema} --from {version}` in a migration of the application."
    )
    return Finding(
        "outbox schema", "warning", words, f"BEGIN;\n\n{scripts.outbox_sql(place.schema, version)}\nCOMMIT;\n"
    )


def _check_notify(settings: Settings, place: Place) -> Finding:
    from ..storage.postgres import listener

    try:
        is_heard = listener.is_heard(place, HEARD_WITHIN)
    except Denied as error:
        return Finding("NOTIFY", "warning", f"Not tried: {error}.")
    if is_heard:
        return ok("NOTIFY", "It arrives: commits are noticed at once.")
    every = settings.outbox.poll_interval.total_seconds()
    words = (
        f"It does not arrive, as behind a pooler in transaction mode: commits are noticed within outbox.poll_interval "
        f"({every:g} s). Name the server itself in the URL for quicker ones."
    )
    return Finding("NOTIFY", "warning", words)
