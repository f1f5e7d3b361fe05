"""What the pages call things that rows have by a name of their own."""

from __future__ import annotations

from ...rules.texts import Text

_CONDITIONS = {
    "project_id": Text("Project"),
    "webhook_id": Text("Webhook"),
    "state": Text("State"),
    "status": Text("Status"),
    "event_type": Text("Event type"),
    "event_id": Text("Event"),
    "event": Text("Event"),
    "cause": Text("Cause"),
    "since": Text("Since"),
    "until": Text("Until"),
    "include_cancelled": Text("Include cancelled"),
}
_FIELDS = {
    "state": Text("state"),
    "status": Text("status"),
    "event_type": Text("event type"),
    "since": Text("since"),
    "until": Text("until"),
    "cause": Text("cause"),
    "action": Text("action"),
    "event_id": Text("event id"),
    "text": Text("text"),
    "test": Text("test"),
    "project": Text("project"),
    "webhook": Text("webhook"),
}
# Of the web server itself.
ERRORS = (Text("404: Not Found"), Text("405: Method Not Allowed"))
_ROLES = {
    "operator": Text("operator"),
    "producer": Text("producer"),
    "project_admin": Text("project admin"),
}


def condition(name: str) -> str:
    """Return what a condition of a selection is called."""
    return _CONDITIONS.get(name, name)


def field(name: str) -> str:
    """Return what a sentence calls a field of a list: nobody who reads a page knows its parameters."""
    return _FIELDS.get(name, name.replace("_", " "))


def role(name: str) -> str:
    """Return what somebody without a name of their own is called."""
    return _ROLES.get(name, name)
