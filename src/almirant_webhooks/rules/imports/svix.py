"""Svix: applications with endpoints, each with the answers about its secret, headers and transformation.

The file is `{"applications": [APPLICATION, …], "eventTypes": …}`: an application as the API answers, with `endpoints`, and
each of those as the API answers, with `secret`, `headers` and `transformation` as they are answered. A list of endpoints
alone will do where a project is named.
"""

from __future__ import annotations

import re

from .document import Node, optional_text
from .plan import MAX_ID, Choices, Plan, Planned, items_of, one_line, renamed, set_body, set_header, set_rate

_BASE64 = re.compile(r"[A-Za-z0-9+/]{32,}={0,2}")
_RECEIVER = (
    "Nothing where it verifies with a library of Svix or of Standard Webhooks: they read webhook-id, webhook-timestamp and "
    "webhook-signature, and the secret is the same. Code that reads svix-id, svix-timestamp and svix-signature itself reads "
    "those three in their place."
)


def plan(file: Node, choices: Choices) -> Plan:
    """Return what an export would make; raises `Refused` with the place of what is wrong."""
    made = Plan()
    if file.is_object and (applications := file.get("applications")) is not None:
        for application in _whole(applications):
            project_id = optional_text(application, "uid", MAX_ID) or application.need("id").text(MAX_ID)
            for endpoint in _whole(application.need("endpoints")):
                made.add(_planned(endpoint, choices.project_id or project_id, choices, application))
        if (types := file.get("eventTypes")) is not None:
            made.event_types = renamed(
                [kind.need("name").text(MAX_ID) for kind in _whole(types) if not kind.has("archived")], choices
            )
    elif choices.project_id is None:
        file.refuse("applications is missing. For a list of endpoints alone say --project, which they then belong to.")
    else:
        for endpoint in _whole(file):
            made.add(_planned(endpoint, choices.project_id, choices, None))
    return made


def _whole(node: Node) -> list[Node]:
    """Return a list that may be an answer of the API, which must be the last page of it."""
    if node.is_object and node.get("done") is not None and not node.need("done").flag():
        node.refuse(
            "it is one page of several (done is false); fetch the others with its iterator, and put all into one list."
        )
    return items_of(node, "data")


def _either(node: Node, name: str, older: str) -> Node | None:
    """Return what servers of today and of before have by two names."""
    return node.get(name) or node.get(older)


def _planned(endpoint: Node, project_id: str, choices: Choices, application: Node | None) -> Planned:
    types = _either(endpoint, "eventTypes", "filterTypes")
    made = Planned(
        place=endpoint.place,
        origin=f"svix:{endpoint.need('id').text(MAX_ID)}",
        project_id=project_id,
        url=endpoint.need("url").text(),
        events=renamed(types.texts(), choices) if types is not None else ("*",),
        secret=None,
        description=one_line(optional_text(endpoint, "description")),
        enabled=not endpoint.has("disabled"),
        receiver=_RECEIVER,
    )
    set_body(made, choices)
    _secret(made, endpoint)
    _headers(made, endpoint)
    if (rate := _either(endpoint, "throttleRate", "rateLimit")) is not None:
        set_rate(made, rate.whole(), 1)
    if application is not None and _either(application, "throttleRate", "rateLimit") is not None:
        made.lost.append("The application's throttleRate, which is of all its endpoints together.")
    if endpoint.has("metadata"):
        made.lost.append("Its metadata.")
    if endpoint.has("channels"):
        made.differs.append(
            "It gets messages of its channels alone, and there are no channels here; a filter may say the same."
        )
    transformation = endpoint.get("transformation")
    if transformation is not None and transformation.has("enabled"):
        made.differs.append("Its transformation is JavaScript, which is not run here; a template may say the same.")
    return made


def _secret(made: Planned, endpoint: Node) -> None:
    answer = endpoint.get("secret")
    key = "" if answer is None else (optional_text(answer, "key") if answer.is_object else answer.text())
    if key.startswith(("whpk", "whsk")):
        made.why_unsigned = "It is signed with ed25519, which is not made here."
    elif not key:
        made.why_unsigned = (
            "The file has no secret of it; add the answer of GET …/endpoint/ID/secret to the endpoint as secret."
        )
    elif _BASE64.fullmatch(key):
        made.secret = f"whsec_{key}"
    else:
        made.secret = key


def _headers(made: Planned, endpoint: Node) -> None:
    answer = endpoint.get("headers")
    if answer is None:
        return
    values = answer.get("headers") if answer.get("sensitive") is not None else answer
    for name, value in values.members() if values is not None else ():
        set_header(made, name, value.text())
    if (sensitive := answer.get("sensitive")) is not None:
        for name in sensitive.texts():
            if name not in made.options.get("headers", {}):
                made.differs.append(
                    f"Svix does not give the value of its header {name}: webhook update ID --header '{name}: …' has it sent."
                )
