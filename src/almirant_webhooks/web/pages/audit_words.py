"""The audit trail in the reader's language. Its rows stay as they were written: commands and API show them so."""

from __future__ import annotations

from ...rules.sentences import At
from ...rules.stored_texts import matched, recognised
from ...rules.texts import Text, listed
from ...rules.versions import SETTINGS
from . import naming

ACTIONS = {
    "webhook.created": Text("Webhook created"),
    "webhook.imported": Text("Webhook imported"),
    "webhook.updated": Text("Webhook changed"),
    "webhook.enabled": Text("Webhook enabled"),
    "webhook.disabled": Text("Webhook disabled"),
    "webhook.deleted": Text("Webhook deleted"),
    "webhook.tested": Text("Test event sent"),
    "secret.revealed": Text("Secret revealed"),
    "secret.rotated": Text("Secret replaced"),
    "secret.switched": Text("Change of secret brought forward"),
    "secret.rotation_cancelled": Text("Old secret kept"),
    "delivery.resent": Text("Delivery resent"),
    "resend.started": Text("Resend of many started"),
    "resend.cancelled": Text("Resend of many cancelled"),
    "replay.started": Text("Replay started"),
    "replay.cancelled": Text("Replay cancelled"),
    "event.sent_to": Text("Event sent to a webhook"),
    "producer_token.created": Text("Producer's token made"),
    "producer_token.revoked": Text("Producer's token revoked"),
    "project_token.created": Text("API token made"),
    "project_token.revoked": Text("API token revoked"),
    "token.rotated": Text("Operator's token made anew"),
    "portal_link.created": Text("Link made"),
    "session.started": Text("Session started"),
    "session.ended": Text("Session ended"),
    "event.erased": Text("Content of events erased"),
    "backup.created": Text("Backup made"),
    "key.rotated": Text("Key of secrets changed"),
}
# Whoever is named by a link or a token has a word behind the name, so nobody can have the name of another kind.
_ACTORS = (
    Text("{name} (link)"),
    Text("{name} (API token)"),
    Text("user {login} as {name}"),
    Text("user {name}"),
    Text("link to {project}"),
)
_ROLES = {"the service": Text("the service")}
_ERASED = (
    Text("{count} events, by id"),
    Text("{count} events, by a search"),
    Text("{count} rejected rows of the outbox, by id"),
    Text("{count} rejected rows of the outbox, by a search"),
)
# What stands behind each action, in the forms that it is written in.
_DETAILS: dict[str, tuple[Text, ...]] = {
    "webhook.enabled": (Text("{count} held deliveries discarded"), Text("held deliveries discarded")),
    "secret.rotated": (Text("switch at {at}"),),
    "secret.switched": (Text("switch at {at}"),),
    "portal_link.created": (
        Text("until {at}, for {name}, to look only"),
        Text("until {at}, for {name}"),
        Text("until {at}, to look only"),
        Text("until {at}"),
    ),
    "session.started": (Text("may look and change nothing"),),
    "session.ended": (Text("of {whose}"),),
    "event.erased": _ERASED,
    "backup.created": (Text("{count} bytes"),),
    "key.rotated": (Text("{count} webhooks sealed with the key {key}"), Text("{count} webhooks no longer sealed")),
}


def action(word: str) -> str:
    """Return what was done."""
    return ACTIONS.get(word, word)


def actor(name: str) -> str:
    """Return who did it; a name stays as it is."""
    return matched(name, _ACTORS, lambda _, value: value) or _ROLES.get(name) or naming.role(name)


def detail(action: str, text: str) -> Text:
    """Return what else an entry says, which may have times in it; what is somebody's own stays as it is."""
    if action == "webhook.updated":
        return listed([SETTINGS.get(name, name) for name in text.split(", ")])
    if action == "webhook.disabled":
        return recognised(text)
    return matched(text, _DETAILS.get(action, ()), _part) or Text("{text}", text=text)


def _part(name: str, value: str) -> object:
    if name == "at":
        return At(value)
    return actor(value) if name == "whose" else value
