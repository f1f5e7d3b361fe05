"""What cannot be looked at, inserted, erased or opened is refused with one sentence, whether a command, the API or a page was asked."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import GONE, PROJECT, SOON, Faces, Refusal, check

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESERVED = "The project almirant is reserved for events about webhooks themselves, which are made here."
TYPE = "An event type is dotted lower-case words such as work_item.created, at most 128 characters."
OWN_TYPE = "Event types that begin with almirant. are the service's own: it tells of webhooks by them. Give the event another type."
TOKEN_NAME = "The name of a token has 1 to 64 letters, digits, '.', '_' or '-'."
NEXT = (
    "next: a link leads to a page of its project, as /deliveries/dlv_… or /webhooks/wh_…/deliveries?state=failed; write its "
    "path without the host, 2,000 characters at most."
)
SPAN = "must be one of 1h, 24h, 7d, 30d."
NO_EVENT = (
    "There is no event evt_none. A row of the outbox that was rejected is erased with its project named too, and one that was "
    "not taken yet once the daemon has taken it."
)
LATER = " Nor is it in the outbox: it was not inserted, rolled back, or is older than it is kept."


def sent(sentence: str, name: str, value: str, *, status: int = 422, field: str | None = "", **more: str) -> Refusal:
    """An event that is not taken; pages have no such form."""
    event = {"project_id": "proj_1", "event_type": "lead.created", **more, name: value}
    options = {"project_id": "--project", "event_type": "--type", "event_id": "--id", "occurred_at": "--occurred-at"}
    words = [word for each, text in event.items() for word in (options[each], text)]
    call = ("POST", "/events", {**event, "payload": {}})
    command = ("event", "send", "--data", "{}", *words)
    return Refusal(sentence, command, call, status=status, field=name if field == "" else field)


def token(sentence: str, project: str, name: str, **more: Any) -> Refusal:
    """An API token that is not made."""
    body = {"project_id": project, "name": name}
    command = ("token", "--project", project, "--name", name)
    return Refusal(sentence, command, ("POST", "/tokens", body), ("/tokens", body), **more)


def link(sentence: str, option: str, name: str, value: str) -> Refusal:
    """A link that is not made."""
    return Refusal(
        sentence,
        ("portal-link", "proj_1", option, value),
        ("POST", "/portal-links", {"project_id": "proj_1", name: value}),
        field=name,
    )


def gone(what: str, command: tuple[str, ...], path: str, *, page: bool = True, way: str = "") -> Refusal:
    """Something to look at that is not there."""
    call = ("GET", path, None)
    return Refusal(
        f"There is no {what}.", command, call, (path, None) if page else None, status=404, field="id", way=way
    )


REFUSALS: dict[str, Refusal] = {
    "to look at a webhook that is gone": gone(f"webhook {GONE}", ("webhook", "show", GONE), f"/webhooks/{GONE}"),
    "to look at a delivery that is gone": gone("delivery dlv_0", ("delivery", "show", "dlv_0"), "/deliveries/dlv_0"),
    "to look at an event that is gone": gone(
        "event evt_none", ("event", "show", "evt_none"), "/events/evt_none", way=LATER
    ),
    "to look at a resend that is gone": gone("resend rsd_0", ("delivery", "resends", "rsd_0"), "/resends/rsd_0"),
    "the activity of a webhook that is gone": gone(
        f"webhook {GONE}", ("activity", GONE), f"/webhooks/{GONE}/activity", page=False
    ),
    "the activity of a span that is none": Refusal(
        f"span {SPAN}",
        None,  # wrong usage of an option, whose name has dashes: `tests/web/test_activity.py` has it
        ("GET", "/activity?project=proj_1&span=2d", None),
        ("/activity?project=proj_1&span=2d", None),
        field="span",
    ),
    "an event of no project": sent(PROJECT, "project_id", "a b"),
    "an event of the reserved project": sent(RESERVED, "project_id", "almirant"),
    "an event of a type that is none": sent(TYPE, "event_type", "Lead"),
    "an event of a type of the service's own": sent(OWN_TYPE, "event_type", "almirant.webhook.failing"),
    "an event with an id that is none": sent(
        "An event id is 1 to 128 letters, digits, '_', '-' or ':'.", "event_id", "a b"
    ),
    "an event with the id of another one": sent(
        "The event id {event} is already used in proj_off with other content.",
        "event_id",
        "{event}",
        status=409,
        field="event_id",
        project_id="proj_off",
    ),
    "an event of a time that is none": sent(
        "occurred_at: 'soon' is not a time; write it as 2026-01-31 or 2026-01-31T09:30:00Z.", "occurred_at", "soon"
    ),
    "to erase an event that is gone": Refusal(
        NO_EVENT,
        ("event", "erase", "evt_none", "--yes"),
        ("POST", "/events/evt_none/erase", {}),
        status=404,
        field="id",
    ),
    "to erase by an empty text": Refusal(
        "Name the text to search for; an empty one is in every event.",
        ("event", "erase", "--search", " ", "--yes"),
        ("POST", "/events/erase", {"search": " "}),
        field="search",
    ),
    "an API token for no project": token(PROJECT, "a b", "ci", field="project_id"),
    "an API token with a name that is none": token(TOKEN_NAME, "proj_1", "a b", field="name"),
    "an API token with a name that is taken": token(
        "The project has an API token named {token} already; choose another name.",
        "proj_1",
        "{token}",
        status=409,
        page_status=422,
        field="name",
    ),
    "an API token revoked that is gone": Refusal(
        "There is no API token ptk_0.",
        None,  # the command names it by its name
        ("DELETE", "/tokens/ptk_0", None),
        ("/tokens/ptk_0/revoke", {}),
        status=404,
        field="id",
    ),
    "an API token revoked by a name that none has": Refusal(
        "The project proj_1 has no API token named none.", ("token", "--project", "proj_1", "--revoke", "none", "--yes")
    ),
    "a link for nobody": link(
        "actor: a name is 1 to 100 characters that can be seen, on one line.", "--actor", "actor", "a\nb"
    ),
    "a link that leads elsewhere": link(NEXT, "--next", "next", "https://example.com/"),
    "a link for no project": Refusal(
        PROJECT,
        ("portal-link", "a b"),
        ("POST", "/portal-links", {"project_id": "a b"}),
        field="project_id",
    ),
    "a link that lives too long": Refusal(
        "A link lives for a second at least and a day at most; the session that it begins lasts for hours.",
        ("portal-link", "proj_1", "--expires", "31d"),
        ("POST", "/portal-links", {"project_id": "proj_1", "expires": "31d"}),
        code=2,
        field="expires",
    ),
    "a link that lives for no duration": Refusal(
        f"expires: {SOON}.",
        ("portal-link", "proj_1", "--expires", "soon"),
        ("POST", "/portal-links", {"project_id": "proj_1", "expires": "soon"}),
        code=2,
        field="expires",
    ),
    "a producer's token for no project": Refusal(PROJECT, ("token", "--producer", "--project", "a b")),
    "a producer's token for the reserved project": Refusal(RESERVED, ("token", "--producer", "--project", "almirant")),
    "a token removed that is gone": Refusal(
        "There is no producer's token prod_0.", ("token", "--revoke", "prod_0", "--yes")
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_every_face_refuses_with_the_same_sentence_and_nothing_is_changed(faces: Faces, what: str) -> None:
    """A command with its exit code, the API with its status and field, a page with its status."""
    await check(faces, REFUSALS[what])
