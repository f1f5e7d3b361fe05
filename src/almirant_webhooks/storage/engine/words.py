"""What every engine says of an outbox, in the same words."""

from __future__ import annotations

CHANGED_AFTER_TAKEN = "occurred_at was changed after the event had been taken"
NO_UNICODE = "The payload holds half of a surrogate pair, which is not Unicode text."
_WAY_OUT = (
    "Name the right database, or take this outbox over with `almirant-webhooks migrate --adopt-outbox`; "
    "with `--since TIME` the events taken since that time are looked at again."
)
OTHER_DATABASE = f"Another database takes events from this outbox. {_WAY_OUT}"


def older_database(batches: int, taken: int) -> str:
    """Return what to say where an outbox was read more often than its database knows."""
    return (
        f"This database is older than its outbox (it knows {batches} batches, the outbox was read {taken} times): "
        f"it was restored from a backup. {_WAY_OUT}"
    )


def other_content(event_id: str, project_id: str) -> str:
    """Return what to say of an event whose id another one of its project has."""
    return f"The event id {event_id} is already used in {project_id} with other content."
