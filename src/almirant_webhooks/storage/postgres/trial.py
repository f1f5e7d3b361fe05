"""Tries what producers and the daemon do, and rolls it back: `doctor` asks whether it works."""

from __future__ import annotations

from . import triggers
from .connection import Session, transaction
from .driver import Error

_INSERT = """
INSERT INTO outbox (project_id, event_type, payload) VALUES ('almirant-doctor', 'doctor.tries', '{}') RETURNING id
"""
_MARK = "UPDATE outbox SET fanned_out_at = occurred_at WHERE id = %s"


class _RolledBack(Exception):
    pass


def insert_and_mark(session: Session) -> tuple[str | None, str | None]:
    """Insert an event and mark it as the daemon does; return why each fails, or None. Raises `StorageError`."""
    inserting: str | None = None
    marking: str | None = None
    try:
        with transaction(session, 2.0):
            try:
                row = session.run(_INSERT)[0][0]
            except Error as error:
                inserting = _words(error)
                raise _RolledBack from None
            try:
                if not session.count(_MARK, row):
                    marking = str(triggers.ignored_marks(session, [row])[1] or "the UPDATE changed no row")
            except Error as error:
                session.run("ROLLBACK")
                marking = str(triggers.failure(triggers.trigger_names(session), error))
            raise _RolledBack
    except _RolledBack:
        return inserting, marking


def _words(error: Error) -> str:
    return " ".join(str(error).split())
