"""The audit trail in the reader's language. Its rows stay as they were written: commands and API show them so."""

from __future__ import annotations

import re

from ...rules.sentences import At
from ...rules.stored_texts import matched, recognised
from ...rules.texts import Text, listed, one_by_one
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
        Text("until {at}, to look only, for {name}"),
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
# Why an import made a webhook disabled: sentences one behind the other, the last of which may be cut.
_NO_EQUAL = (
    Text("objects that are nested too deeply"),
    Text("$and without a list of filters"),
    Text("$exist without true or false"),
    Text("a list as a value"),
    Text("{name} without a list"),
    Text("{name} of an object or a list"),
    Text("{name} of what has no order"),
)
_OF_A_COMMAND = (
    "Svix does not give the value of its header {name}: webhook update ID --header '{again}: …' has it sent."
)
IMPORTED = (
    Text("All are made disabled, as you said."),
    Text("It is disabled there."),
    Text("Its authentication by {kind} has no equal here."),
    Text("Its client certificate has no equal here."),
    Text("Its function is JavaScript, which is not run here; a template may say the same."),
    Text("Its transformation is JavaScript, which is not run here; a template may say the same."),
    Text("Its body is {kind} there; here it is application/json."),
    Text("Its filter for * is not asked there about types that have one of their own; here all that match send."),
    Text("Its filter has {what}, and events have none here."),
    Text("Its filter has {what}, which no condition says here; write a filter, and enable it."),
    Text("It gets messages of its channels alone, and there are no channels here; a filter may say the same."),
    _OF_A_COMMAND,
)
_END_OF_A_SENTENCE = re.compile(r"(?<=[.]) ")


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
        return _why_imported_disabled(text) or recognised(text)
    return matched(text, _DETAILS.get(action, ()), _part) or Text("{text}", text=text)


def _why_imported_disabled(text: str) -> Text | None:
    """Return the reasons of an import in the reader's language, None for a text that begins with none."""
    said: list[str] = []
    piece = ""
    for sentence in _END_OF_A_SENTENCE.split(text):
        piece = f"{piece} {sentence}" if piece else sentence
        if (found := matched(piece, IMPORTED, _of_import)) is not None:
            said.append(_on_a_page(found))
            piece = ""
    if not said:
        return None
    return one_by_one([*said, piece] if piece else said)


def _on_a_page(reason: Text) -> Text:
    """Return a reason as it stands, but for one that names a command."""
    if reason.msgid != _OF_A_COMMAND:
        return reason
    return Text(
        "Svix does not give the value of its header {name}; it is to be written into the settings of the webhook.",
        name=reason.parts["name"],
    )


def _of_import(name: str, value: str) -> object:
    return (matched(value, _NO_EQUAL, lambda _, word: word) or value) if name == "what" else value


def _part(name: str, value: str) -> object:
    if name == "at":
        return At(value)
    return actor(value) if name == "whose" else value
