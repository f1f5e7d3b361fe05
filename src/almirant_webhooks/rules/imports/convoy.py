"""Convoy: endpoints and the subscriptions that send them events; a webhook is made of each subscription,
or of each of its filters where its event types have different ones.

The file is `{"endpoints": …, "subscriptions": …}`, both as the API answers or as lists, each subscription with
the answer about its `filters`; and `project` as the API answers, for how it signs.
"""

from __future__ import annotations

import base64
from typing import NamedTuple

from .convoy_filters import Share, set_filter, shares
from .document import Node, optional_text
from .plan import MAX_ID, Choices, Plan, Planned, Skipped, items_of, one_line, renamed, set_body, set_header, set_rate

_ZERO_TIME = "0001-01-01T00:00:00Z"  # how it writes a time that is not set
_SAME = "X-Almirant-Signature in place of {header}; the value and the secret are the same."
_OTHER = "X-Almirant-Signature, the hex HMAC-SHA256 of the body with the same secret, in place of {header}, which has {how} there."


class _Signing(NamedTuple):
    header: str = "X-Convoy-Signature"
    how: str = "SHA256 as hex"


def plan(file: Node, choices: Choices) -> Plan:
    """Return what an export would make; raises `Refused` with the place of what is wrong."""
    made = Plan()
    signing = _signing(file.get("project"))
    endpoints: dict[str, Node] = {}
    for endpoint in _whole(file.need("endpoints")):
        uid = endpoint.need("uid").text(MAX_ID)
        if uid in endpoints:
            endpoint.refuse(f"its uid is there already, at {endpoints[uid].place}.")
        endpoints[uid] = endpoint
    used: set[str] = set()
    for subscription in _whole(file.need("subscriptions")):
        origin = f"convoy:{subscription.need('uid').text(MAX_ID)}"
        metadata = subscription.get("endpoint_metadata")
        if (reason := _why_none(subscription)) is not None or metadata is None:
            made.skipped.append(Skipped(subscription.place, origin, reason or "It has no endpoint."))
            continue
        uid = metadata.need("uid").text(MAX_ID)
        if uid not in endpoints:
            subscription.refuse("its endpoint is not among endpoints; fetch all pages of both.")
        used.add(uid)
        parts = shares(subscription)
        if not parts:
            made.skipped.append(Skipped(subscription.place, origin, "All of its event types are off."))
        for share in parts:
            made.add(_planned(subscription, endpoints[uid], origin, signing, choices, share))
    for uid, endpoint in endpoints.items():
        if uid not in used:
            made.skipped.append(Skipped(endpoint.place, f"convoy:{uid}", "No subscription sends it anything."))
    if (types := file.get("event_types")) is not None:
        names = [kind.need("name").text(MAX_ID) for kind in _whole(types) if not kind.has("deprecated_at")]
        made.event_types = renamed([name for name in names if name != "*"], choices)
    return made


def _whole(node: Node) -> list[Node]:
    """Return a list that may be an answer of the API, which must be the last page of it."""
    data = node.get("data") or node if node.is_object else node
    if data.is_object and (pages := data.get("pagination")) is not None and pages.has("has_next_page"):
        node.refuse("it is one page of several; fetch the others with next_page_cursor, and put all into one list.")
    return items_of(node, "data", "content")


def _signing(project: Node | None) -> _Signing:
    if project is not None and (data := project.get("data")) is not None:
        project = data
    config = None if project is None else project.get("config")
    signature = None if config is None else config.get("signature")
    if signature is None:
        return _Signing()
    header = optional_text(signature, "header", MAX_ID) or _Signing().header
    versions = signature.get("versions")
    if versions is None or not versions.items():
        return _Signing(header)
    last = versions.items()[-1]  # the one that a simple signature is made by
    return _Signing(header, f"{optional_text(last, 'hash', MAX_ID)} as {optional_text(last, 'encoding', MAX_ID)}")


def _why_none(subscription: Node) -> str | None:
    if optional_text(subscription, "type", MAX_ID) == "cli":
        return "It is of Convoy's command line."
    if subscription.has("source_metadata"):
        return "It routes webhooks of others that Convoy takes in, which has no equal here."
    return None


def _planned(
    subscription: Node, endpoint: Node, origin: str, signing: _Signing, choices: Choices, share: Share
) -> Planned:
    project_id = optional_text(endpoint, "owner_id", MAX_ID) or optional_text(endpoint, "project_id", MAX_ID)
    if not (choices.project_id or project_id):
        endpoint.refuse("it has neither owner_id nor project_id; say --project.")
    made = Planned(
        place=subscription.place,
        origin=origin + share.suffix,
        project_id=choices.project_id or project_id,
        url=endpoint.need("url").text(),
        events=renamed(share.types, choices),
        secret=None,
        description=one_line(f"{optional_text(endpoint, 'name')}: {optional_text(subscription, 'name')}".strip(" :")),
        enabled=optional_text(endpoint, "status", MAX_ID) in ("", "active"),
        receiver=_receiver(endpoint, signing),
    )
    set_body(made, choices)
    _secret(made, endpoint)
    _authentication(made, endpoint)
    if (rate := endpoint.get("rate_limit")) is not None and (span := endpoint.get("rate_limit_duration")) is not None:
        set_rate(made, rate.whole(), span.whole())
    _without_equal(made, subscription, endpoint)
    if share.filter is not None:
        set_filter(made, share.filter)
    if share.differs:
        made.differs.append(share.differs)
    return made


def _receiver(endpoint: Node, signing: _Signing) -> str:
    if endpoint.has("advanced_signatures"):
        words = _OTHER.format(header=signing.header, how="an advanced signature (t=…,v1=…)")
    elif signing.how.lower() == "sha256 as hex":
        words = _SAME.format(header=signing.header)
    else:
        words = _OTHER.format(header=signing.header, how=signing.how)
    return f"It reads {words}"


def _secret(made: Planned, endpoint: Node) -> None:
    secrets = endpoint.get("secrets")
    rows = secrets.items() if secrets is not None else []
    active = [row for row in rows if not _time(row, "expires_at") and not _time(row, "deleted_at")]
    if active:
        made.secret = active[-1].need("value").text()
    made.why_unsigned = "The file has no secret of its endpoint that does not expire."
    if len(rows) > 1:
        made.lost.append("Its endpoint's other secrets, which no longer sign here.")


def _time(row: Node, name: str) -> str:
    text = optional_text(row, name, MAX_ID)
    return "" if text == _ZERO_TIME else text


def _authentication(made: Planned, endpoint: Node) -> None:
    found = endpoint.get("authentication")
    kind = "" if found is None else optional_text(found, "type", MAX_ID)
    if found is not None and kind == "api_key":
        key = found.need("api_key")
        set_header(made, key.need("header_name").text(), key.need("header_value").text())
    elif found is not None and kind == "basic_auth":
        basic = found.need("basic_auth")
        pair = f"{basic.need('username').text()}:{basic.need('password').text()}"
        set_header(made, "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    elif kind:
        made.differs.append(f"Its authentication by {kind[:40]} has no equal here.")
    if endpoint.has("mtls_client_cert"):
        made.differs.append("Its client certificate has no equal here.")


def _without_equal(made: Planned, subscription: Node, endpoint: Node) -> None:
    if (timeout := endpoint.get("http_timeout")) is not None and timeout.whole() not in (0, 10):
        made.lost.append(f"Its time limit of {timeout.whole()} s; delivery.timeout is of all webhooks.")
    for name in ("slack_webhook_url", "teams_webhook_url", "support_email"):
        if endpoint.has(name):
            made.lost.append(
                f"Notices to its {name}; a webhook for almirant.* with a template tells a chat of failures."
            )
    if subscription.has("retry_config"):
        made.lost.append("Its retry_config; delivery.retry_schedule is of all webhooks.")
    if subscription.has("alert_config"):
        made.lost.append("Its alert_config; a webhook for almirant.* tells of failures.")
    if subscription.has("rate_limit_config"):
        made.lost.append("Its rate_limit_config, which Convoy's worker does not read; the endpoint's is kept.")
    if optional_text(subscription, "delivery_mode", MAX_ID) == "at_most_once":
        made.lost.append("Its at_most_once; a delivery is made at least once here.")
    if subscription.has("function"):
        made.differs.append("Its function is JavaScript, which is not run here; a template may say the same.")
    content_type = optional_text(endpoint, "content_type", MAX_ID)
    if content_type not in ("", "application/json"):
        made.differs.append(f"Its body is {content_type[:80]} there; here it is application/json.")
