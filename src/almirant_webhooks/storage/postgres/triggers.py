"""What an application has put on the outbox and makes the daemon's statements fail: its triggers and constraints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..engine import TriggerFails, trigger_fails, trigger_keeps
from .connection import Session
from .driver import Error, errors
from .unread import IS_UNREAD

_NAMES = """
SELECT tgname FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal AND tgname <> 'outbox_inserted'
ORDER BY tgname LIMIT 10
"""


def is_of_the_application(error: BaseException) -> bool:
    """Tell whether an error comes out of a function that a statement has called, or of a rule that it broke."""
    if not isinstance(error, Error) or error.sqlstate is None:
        return False
    if isinstance(error, (errors.QueryCanceled, errors.LockNotAvailable)):
        return False
    is_rule = error.sqlstate[:2] in ("23", "P0", "09", "27")
    return is_rule or error.diag.context is not None


def trigger_names(session: Session) -> list[str]:
    """Return the names of triggers on the outbox that are not ours."""
    return [row[0] for row in session.run(_NAMES, f"{session.place.schema}.outbox")]


def failure(names: Sequence[str], error: BaseException) -> TriggerFails:
    """Return the error in words for whoever has to mend it."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TriggerFails(trigger_fails(names, first))


def blamed(session: Session, error: BaseException) -> TriggerFails:
    """End the transaction, and return its error in words, with the names of the triggers."""
    session.run("ROLLBACK")
    return failure(trigger_names(session), error)


@contextmanager
def blaming(session: Session) -> Iterator[None]:
    """Raise what fails in the block as `TriggerFails`, if it is the application's fault; the transaction is over then."""
    try:
        yield
    except Error as error:
        if not is_of_the_application(error):
            raise
        raise blamed(session, error) from error


def ignored_marks(session: Session, ids: Sequence[int]) -> tuple[set[int], TriggerFails | None]:
    """Return which of these rows are unmarked although no mark failed (a trigger that returns NULL), and the error to name."""
    rows = {row[0] for row in session.run(f"SELECT id FROM outbox WHERE id = ANY(%s) AND {IS_UNREAD}", list(ids))}
    names = trigger_names(session) if rows else []
    if not names:
        return set(), None
    return rows, TriggerFails(trigger_keeps(names))
