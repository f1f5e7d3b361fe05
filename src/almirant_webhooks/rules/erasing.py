"""The words of erasing: what stands in place of what was erased, and what lies beyond this service."""

from __future__ import annotations

from .texts import Text

ERASED_BODY = "{}"  # and blanks, in the database
TIME_BYTES = 24  # of the time that an event is marked with, by which its body becomes shorter
ERASED_PAYLOAD = '{"almirant.erased": true}'  # and blanks, in a row of the outbox; such a row makes no event
REASON = "its content was erased"
# What an answer lists, since erasing does not reach it.
NOT_OURS = (
    "backups and copies of the database, and archives of its WAL",
    "snapshots of the disk or the machine, and its swap",
    "what was sent: receivers have it, and their logs",
    "in an outbox within an application's own file: its free pages, its WAL and what the application has copied",
)


def gone(what: str) -> Text:
    """Return the sentence that refuses to send a delivery again, or an event to another webhook."""
    return Text("{what} cannot be sent: the body is gone, as its content was erased.", what=what)
