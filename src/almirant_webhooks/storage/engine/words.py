"""What every engine says of an outbox, in the same words."""

from __future__ import annotations

from collections.abc import Sequence

CHANGED_AFTER_TAKEN = "occurred_at was changed after the event had been taken"
NO_UNICODE = "The payload holds half of a surrogate pair, which is not Unicode text."
_WAY_OUT = (
    "Name the right database, or take this outbox over with `almirant-webhooks migrate --adopt-outbox`; "
    "with `--since TIME` the events taken since that time are looked at again."
)
OTHER_DATABASE = f"Another database takes events from this outbox. {_WAY_OUT}"

_MEND = (
    "The daemon marks a row by UPDATE outbox SET fanned_out_at = …, and deletes it later: mend that trigger, or drop it"
)


def trigger_fails(names: Sequence[str], why: object) -> str:
    """Return what to say where the application's triggers of these names, or another rule of it, make a statement fail."""
    return f"{_which(names)} fails: {why}. {_MEND}"


def trigger_keeps(names: Sequence[str]) -> str:
    """Return what to say where they keep rows from being marked, and nothing fails."""
    return f"{_which(names)} keeps rows from being marked. {_MEND}"


def _which(names: Sequence[str]) -> str:
    if not names:
        return "a rule of the application on outbox"
    return f"a trigger of the application on outbox ({', '.join(names)})"


def older_database(batches: int, taken: int) -> str:
    """Return what to say where an outbox was read more often than its database knows."""
    return (
        f"This database is older than its outbox (it knows {batches} batches, the outbox was read {taken} times): "
        f"it was restored from a backup. {_WAY_OUT}"
    )


def other_content(event_id: str, project_id: str) -> str:
    """Return what to say of an event whose id another one of its project has."""
    return f"The event id {event_id} is already used in {project_id} with other content."
