"""The outbox: bound to a database, inserted into on behalf of people, and pruned."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime

from ...model import Conflict, Misconfigured, Refused
from ...rules.erasing import ERASED_PAYLOAD
from ...rules.postgres_urls import Place
from ..engine import NO_UNICODE, OTHER_DATABASE, Lost, StorageError, Unconfirmed, older_database, other_content
from ..outbox_rows import columns_of, content_of
from ..records import RowState
from . import triggers
from .connection import WAIT, Session, connect, reads, transaction
from .driver import Error, errors
from .errors import ServerAway, engine_errors
from .unread import OCCURRED_AT, TIME

FIND_OUT = 5.0  # seconds within which is found out whether an event was committed
RETRY = 0.2  # seconds between two tries
_OF_EVENT = f"""
WITH of_event AS MATERIALIZED (
    SELECT id, rejected_reason, {TIME.format("fanned_out_at")} FROM outbox WHERE event_id = %s)
SELECT * FROM of_event ORDER BY id DESC LIMIT 1
"""


def bind(session: Session, identity: Callable[[], tuple[str, int]]) -> None:
    """Bind a new outbox to a database; raises `Misconfigured` if another one, or a later state of it, took rows.

    `identity` tells the database's id and the number of its last batch. It is asked while nobody can note a later batch here.
    """
    with transaction(session):
        # It writes even if nothing changes: a server that is read-only must be noticed now, not at the first event.
        ((bound, taken),) = session.run("UPDATE outbox_meta SET batch = batch RETURNING database_id, batch")
        database_id, batch = identity()
        if bound is None:
            session.run("UPDATE outbox_meta SET database_id = %s, batch = %s", database_id, batch)
            return
    if bound != database_id:
        raise Misconfigured(OTHER_DATABASE)
    if taken > batch:
        raise Misconfigured(older_database(batch, taken))


def adopt(session: Session, database_id: str, batch: int, since: datetime | None) -> int:
    """Bind it to a database, whatever it was bound to; return how many taken rows will be read again."""
    with transaction(session, statement=3600.0):
        session.run("UPDATE outbox_meta SET database_id = %s, batch = %s", database_id, batch)
        if since is None:
            return 0
        return session.count("UPDATE outbox SET fanned_out_at = NULL WHERE fanned_out_at >= %s", since)


def insert(
    session: Session,
    *,
    project_id: str,
    event_type: str,
    payload: str,
    event_id: str | None,
    occurred_at: str | None = None,
    wait: float = WAIT,
) -> str:
    """Insert one event as a producer would; return its id. Raises `Refused` with the text of the violated rule.

    An id that is used already is not an error with the same content, and `Conflict` with another. It is one transaction. Where
    the answer to its COMMIT is lost, the same event is inserted once more by a new connection, which tells whether it is there;
    raises `Unconfirmed`, with its id, when no server says so within `FIND_OUT` seconds.
    """
    if "\0" in payload:
        raise Refused("The event was refused: payload must be a JSON object.", "payload")
    try:
        payload.encode()
    except UnicodeEncodeError:
        raise Refused(NO_UNICODE, "payload") from None
    content = content_of(event_type, payload, occurred_at)
    try:
        return _insert(session, project_id, event_id, content, wait)
    except _Unanswered as unanswered:
        return _insert_again(session.place, project_id, unanswered, content, wait)


class _Unanswered(ServerAway):
    """The connection has ended at the COMMIT of an event."""

    def __init__(self, event_id: str, words: str) -> None:
        super().__init__(words)
        self.event_id = event_id


def _insert(session: Session, project_id: str, event_id: str | None, content: Mapping[str, str], wait: float) -> str:
    columns = columns_of(project_id, event_id, dict(content))
    marks = ", ".join(["%s"] * len(columns))
    query = f"INSERT INTO outbox ({', '.join(columns)}) VALUES ({marks}) RETURNING event_id"
    is_there, inserted = False, ""
    try:
        with transaction(session, wait):
            try:
                inserted = str(session.run(query, *columns.values())[0][0])
            except errors.UniqueViolation:
                is_there = True
                session.run("ROLLBACK")
            except Error as error:
                session.run("ROLLBACK")
                raise _refusal(session, error) from error
    except Lost as error:
        if not inserted:
            raise
        raise _Unanswered(inserted, str(error)) from error
    return _same_or_refused(session, project_id, event_id or "", content) if is_there else inserted


def _insert_again(
    place: Place, project_id: str, unanswered: _Unanswered, content: Mapping[str, str], wait: float
) -> str:
    """Insert the event by its id: the server lets that wait for the first transaction, if it is still under way."""
    event_id, until = unanswered.event_id, time.monotonic() + FIND_OUT
    while True:
        try:
            with closing(connect(place)) as session:
                return _insert(session, project_id, event_id, content, wait)
        except StorageError as error:
            if time.monotonic() > until:
                words = (
                    f"PostgreSQL was lost while the event {event_id} was committed, and whether it was is not known ({error}). "
                    "Send it again with that event_id: it is taken once."
                )
                raise Unconfirmed(str(error), words) from error
        time.sleep(RETRY)


def _refusal(session: Session, error: Error) -> Exception:
    """Return why an event was refused: one of our rules, or one of the application's; else the error itself."""
    if error.diag.column_name and error.diag.table_name == "outbox" and error.sqlstate == "23514":
        return Refused(f"The event was refused: {error.diag.message_primary}.", error.diag.column_name)
    if triggers.is_of_the_application(error):
        return Refused(f"The event was refused: {triggers.failure(triggers.trigger_names(session), error)}.")
    return error


def _same_or_refused(session: Session, project_id: str, event_id: str, content: Mapping[str, str]) -> str:
    shown = [OCCURRED_AT if name == "occurred_at" else name for name in content]
    with transaction(session):
        rows = session.run(
            f"SELECT payload, {', '.join(shown)} FROM outbox WHERE project_id = %s AND event_id = %s",
            project_id,
            event_id,
        )
    if rows and (list(rows[0][1:]) == list(content.values()) or rows[0][0].startswith(ERASED_PAYLOAD)):
        return event_id
    raise Conflict(other_content(event_id, project_id), "event_id")


@reads
def waiting(session: Session, event_id: str) -> RowState | None:
    """Return the state of the newest row with an event's id, or None."""
    rows = session.run(_OF_EVENT, event_id)
    return {"id": rows[0][0], "rejected_reason": rows[0][1], "fanned_out_at": rows[0][2]} if rows else None


def prune(session: Session, taken_before: datetime, limit: int) -> int:
    """Delete rows that were taken before a time, at most `limit`; return their number. Raises `TriggerFails`."""
    with triggers.blaming(session):
        return session.count(
            "DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM outbox WHERE fanned_out_at < %s "
            "ORDER BY fanned_out_at LIMIT %s FOR UPDATE SKIP LOCKED))",
            taken_before,
            limit,
        )


@reads
def count_old(session: Session, taken_before: str, rejected_before: str) -> int:
    """Count the rows that `prune` and a sweep of rejected rows would delete."""
    query = """SELECT (SELECT count(*) FROM outbox WHERE fanned_out_at < %s)
        + (SELECT count(*) FROM outbox WHERE rejected_reason IS NOT NULL AND occurred_at < %s)"""
    return int(session.run(query, taken_before, rejected_before)[0][0])


def vacuum(session: Session) -> bool:
    """Have the server remove the versions of rows that nobody sees any more, if the role may; tell whether nobody was in the way."""
    with engine_errors():
        return session.vacuum(f"{session.place.schema}.outbox")
