"""Outpost: tenants with destinations, as the API answers them; those of the type `webhook` alone.

The file is `{"tenants": [TENANT, …], "topics": …}`, a tenant as the API answers with `destinations`. A list of destinations
alone will do where a project is named.
"""

from __future__ import annotations

import json

from . import their_filters
from .document import Node, optional_text
from .plan import MAX_ID, Choices, Plan, Planned, Skipped, items_of, one_line, renamed, set_body, set_header

_ROOTS = {"data": "data", "topic": "type", "id": "id"}
_RECEIVER = (
    "Where the installation signs by Standard Webhooks: nothing, the headers and the secret are the same. In Outpost's own "
    "mode, as it is set by default: it reads X-Almirant-Signature in place of x-outpost-signature, whose value has no v0= before it and is else the "
    "same, with the same secret; X-Almirant-Event in place of x-outpost-topic; and X-Almirant-Delivery, which is of the "
    "delivery, in place of x-outpost-event-id."
)


def plan(file: Node, choices: Choices) -> Plan:
    """Return what an export would make; raises `Refused` with the place of what is wrong."""
    made = Plan()
    if file.is_object and (tenants := file.get("tenants")) is not None:
        if tenants.is_object and (pages := tenants.get("pagination")) is not None and pages.has("next"):
            tenants.refuse(
                "it is one page of several; fetch the others with its pagination.next, and put all into one list."
            )
        for tenant in items_of(tenants, "models"):
            tenant_id = tenant.need("id").text(MAX_ID)
            for destination in items_of(tenant.need("destinations"), "models"):
                _add(made, destination, choices.project_id or tenant_id, f"outpost:{tenant_id}/", choices)
        if (topics := file.get("topics")) is not None:
            made.event_types = renamed(topics.texts(MAX_ID), choices)
    elif choices.project_id is None:
        file.refuse("tenants is missing. For a list of destinations alone say --project, which they then belong to.")
    else:
        for destination in items_of(file, "models"):
            _add(made, destination, choices.project_id, "outpost:", choices)
    return made


def _add(made: Plan, destination: Node, project_id: str, prefix: str, choices: Choices) -> None:
    origin = prefix + destination.need("id").text(MAX_ID)
    kind = destination.need("type").text(MAX_ID)
    if kind != "webhook":
        made.skipped.append(Skipped(destination.place, origin, f"It is of the type {kind[:40]}, which is no webhook."))
        return
    made.add(_planned(destination, project_id, origin, choices))


def _planned(destination: Node, project_id: str, origin: str, choices: Choices) -> Planned:
    topics = destination.need("topics")
    config, credentials = destination.need("config"), destination.get("credentials")
    secret = "" if credentials is None else optional_text(credentials, "secret")
    made = Planned(
        place=destination.place,
        origin=origin,
        project_id=project_id,
        url=config.need("url").text(),
        events=renamed(topics.texts() if topics.is_list else (topics.text(MAX_ID),), choices),
        secret=secret or None,
        why_unsigned="The file has no secret of it: credentials.secret is empty; ask with the admin's key.",
        description=one_line(optional_text(destination, "target")),
        enabled=not destination.has("disabled_at"),
        receiver=_RECEIVER,
    )
    set_body(made, choices)
    _headers(made, config)
    if (fixed := destination.get("delivery_metadata")) is not None:
        for name, value in fixed.members():
            set_header(made, f"x-outpost-{name}", value.text())
            made.lost.append(
                f"Its delivery_metadata {name[:40]} is sent as the header x-outpost-{name[:40]}, as by default there."
            )
    if credentials is not None and credentials.has("previous_secret"):
        made.lost.append("The secret of before its last rotation, which no longer signs here.")
    if destination.has("metadata"):
        made.lost.append("Its metadata.")
    if destination.has("filter"):
        _filter(made, destination.need("filter"))
    return made


def _headers(made: Planned, config: Node) -> None:
    written = optional_text(config, "custom_headers")
    if not written:
        return
    place = f"{config.place}.custom_headers"
    try:
        headers = Node(json.loads(written), place)
    except (ValueError, RecursionError):
        Node(None, place).refuse("it must be the JSON of an object as text.")
    for name, value in headers.members():
        set_header(made, name, value.text())


def _filter(made: Planned, written: Node) -> None:
    try:
        found = their_filters.conditions(written.value if written.is_object else {}, "")
        made.options["filter"] = [{**condition, "field": _root(condition["field"])} for condition in found]
    except their_filters.NoEqual as error:
        made.options.pop("filter", None)
        made.differs.append(f"Its filter has {error}, which no condition says here; write a filter, and enable it.")
        return
    if their_filters.has_plain_value(found):
        made.lost.append(their_filters.PLAIN_VALUE)


def _root(field: str) -> str:
    """Return the path that a field has in our bodies; raises `NoEqual`."""
    first, dot, rest = field.partition(".")
    if first not in _ROOTS:
        raise their_filters.NoEqual(first[:40])
    return _ROOTS[first] + dot + rest
