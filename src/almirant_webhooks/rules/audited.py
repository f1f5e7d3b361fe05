"""The actions that the audit trail has entries of."""

from __future__ import annotations

from ..model import Refused
from .event_types import suggestion
from .texts import Text

# Each with the thing that was acted on.
AUDITED_ACTIONS = (
    "webhook.created",
    "webhook.imported",
    "webhook.updated",
    "webhook.enabled",
    "webhook.disabled",
    "webhook.deleted",
    "webhook.tested",
    "secret.revealed",
    "secret.rotated",
    "secret.switched",
    "secret.rotation_cancelled",
    "delivery.resent",
    "resend.started",
    "resend.cancelled",
    "replay.started",
    "replay.cancelled",
    "event.sent_to",
    "producer_token.created",
    "producer_token.revoked",
    "project_token.created",
    "project_token.revoked",
    "token.rotated",
    "portal_link.created",
    "session.started",
    "session.ended",
    "event.erased",
    "backup.created",
    "key.rotated",
)


def action(text: str, name: str) -> str:
    """Return an action that there is; raises `Refused`, with the closest one, for another."""
    if text not in AUDITED_ACTIONS:
        raise Refused(
            Text(
                "{name}: there is no action {action}. {suggestion}",
                name=name,
                action=text,
                suggestion=suggestion(text, AUDITED_ACTIONS),
            ),
            name,
        )
    return text
