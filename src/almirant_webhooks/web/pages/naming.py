"""What the pages call things that rows have by a name of their own."""

from __future__ import annotations

from ...rules.principals import Role
from ...rules.stored_texts import recognised
from ...rules.texts import Cased, Text

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
# Of a resend and of a replay: Spanish has a word of its own for what a delivery is then.
_RESEND_STATES = {
    "finished": Cased(Text("Finished"), str.lower),
    "cancelled": Cased(Text("Cancelled"), str.lower),
}
_ROLES = {
    Role.OPERATOR.value: Text("operator"),
    Role.PRODUCER.value: Text("producer"),
    Role.PROJECT_ADMIN.value: Text("project admin"),
}


def condition(name: str) -> str:
    """Return what a condition of a selection is called."""
    return _CONDITIONS.get(name, name)


def field(name: str) -> str:
    """Return what a sentence calls a field of a list: nobody who reads a page knows its parameters."""
    return _FIELDS.get(name, name.replace("_", " "))


def resend_state(state: str) -> str:
    """Return how far a resend or a replay is, in a word."""
    return _RESEND_STATES.get(state) or recognised(state)


def role(name: str) -> str:
    """Return what somebody without a name of their own is called."""
    return _ROLES.get(name, name)
