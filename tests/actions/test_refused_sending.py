"""What cannot be sent again or later is refused with one sentence, whether a command, the API or a page was asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from .conftest import GONE, NO_PATTERN, Faces, Refusal, check

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISABLED = "Webhook {off} is disabled; enable it first."
NO_REPLAY = "No kept event of that time matches and is without a delivery for this webhook; there is nothing to replay."
UNDER_WAY = "The replay {replay} of this webhook is under way already; wait for its end, or cancel it."
NO_FILTER = (
    "Say which deliveries: by project, webhook, state, status, event type, event, cause, or since when they were made. "
    "Everything at once is not sent again."
)


def replayed(
    sentence: str,
    since: str | None = None,
    name: str = "since",
    value: str | None = None,
    *,
    webhook: str = "{webhook}",
    code: int = 2,
    field: str | None = "",
    status: int = 422,
    **more: Any,
) -> Refusal:
    """A replay that does not begin."""
    named = {"since": since, name: since if value is None else value}
    params = {each: text for each, text in named.items() if text is not None}
    words = [word for each, text in params.items() for word in (f"--{each}", text)]
    path = f"/webhooks/{webhook}/replay"
    refusal = Refusal(
        sentence,
        ("webhook", "replay", webhook, *words, "--yes"),
        ("POST", path, params),
        (path, {"since": "", **params}),
        code=code,
        status=status,
        page_status=422,
        field=name if field == "" else field,
    )
    return replace(refusal, **more)


def sent_to(sentence: str, webhook: str, *, status: int = 409, field: str | None = None) -> Refusal:
    """An event that is not sent to a webhook."""
    path = "/events/{event}/send-to"
    command = ("event", "send-to", "{event}", webhook)
    call = ("POST", path, {"webhook_id": webhook})
    return Refusal(sentence, command, call, (path, {"webhook": webhook}), status=status, field=field)


REFUSALS: dict[str, Refusal] = {
    "a resend of what is gone": Refusal(
        "There is no delivery dlv_0.",
        ("delivery", "resend", "dlv_0"),
        ("POST", "/deliveries/dlv_0/resend", {}),
        ("/deliveries/dlv_0/resend", {}),
        status=404,
        field="id",
    ),
    "a resend among others of what is gone": Refusal(
        "There is no delivery dlv_0.", page=("/deliveries/resend", {"id": ["{delivery}", "dlv_0"]}), status=404
    ),
    "a resend to a disabled webhook": Refusal(
        "Webhook {off} is disabled; enable it first.",
        ("delivery", "resend", "{delivery}"),
        ("POST", "/deliveries/{delivery}/resend", {}),
        ("/deliveries/{delivery}/resend", {}),
        status=409,
    ),
    "everything sent again": Refusal(
        NO_FILTER,
        None,  # the command asks for an id, or for what to select
        ("POST", "/resends", {}),
        ("/resends", {"event_type": ""}),
        field="body",
    ),
    "everything until now sent again": Refusal(
        NO_FILTER,
        ("delivery", "resend", "--until", "1h", "--yes"),
        ("POST", "/resends", {"until": "1h"}),
        ("/resends", {"until": "1h"}),
        field="body",
    ),
    "everything counted": Refusal(
        NO_FILTER,
        ("delivery", "resend", "--until", "1h", "--dry-run"),
        ("POST", "/resends", {"until": "1h", "dry_run": True}),
        field="body",
    ),
    "many sent again of which there is none": Refusal(
        "No delivery of an enabled webhook matches; there is nothing to resend.",
        ("delivery", "resend", "--type", "sprint.closed", "--yes"),
        ("POST", "/resends", {"event_type": "sprint.closed"}),
        ("/resends", {"event_type": "sprint.closed"}),
        status=409,
        page_status=422,
    ),
    **{
        f"a replay {what}": replayed(*values, **more)
        for what, values, more in (
            (
                "since no time",
                ("Say since when events are replayed: a time, or 2h for the last two hours.",),
                {"call": None},
            ),
            (
                "that ends before it begins",
                ("The end of a replay must be later than its begin.", "1h", "until", "2h"),
                {},
            ),
            ("of a type that is none", (NO_PATTERN, "1h", "event", "led.*"), {"code": 1}),
            ("of nothing", (NO_REPLAY, "1h", "event", "sprint.closed"), {"code": 1, "field": None, "status": 409}),
            ("to a disabled webhook", (DISABLED, "1h"), {"code": 1, "field": None, "status": 409, "webhook": "{off}"}),
            (
                "to what is gone",
                (f"There is no webhook {GONE}.", "1h"),
                {"code": 1, "field": "id", "status": 404, "page_status": 404, "webhook": GONE},
            ),
            (
                "while one is under way",
                (UNDER_WAY, "1h"),
                {"code": 1, "field": None, "status": 409, "webhook": "{rotating}"},
            ),
        )
    },
    "a replay of what was cancelled to an ordered webhook": Refusal(
        "An ordered webhook would get its cancelled deliveries outside of their order; send them again one by one.",
        ("webhook", "replay", "{in_order}", "--since", "1h", "--include-cancelled", "--yes"),
        ("POST", "/webhooks/{in_order}/replay", {"since": "1h", "include_cancelled": True}),
        ("/webhooks/{in_order}/replay", {"since": "1h", "include_cancelled": "1"}),
        field="include_cancelled",
    ),
    "an event sent to a webhook that has it": sent_to(
        "The webhook has {event} already, as {delivery}; resend that delivery.",
        "{off}",
    ),
    "an event sent to a disabled webhook": sent_to(DISABLED.replace("{off}", "{empty}"), "{empty}"),
    "an event sent to another project's webhook": sent_to(
        "Project proj_1, which the webhook belongs to, has no event {event}.", "{webhook}", status=404, field="id"
    ),
    "an event sent to a webhook that is gone": sent_to(f"There is no webhook {GONE}.", GONE, status=404, field="id"),
    "to cancel a resend that is gone": Refusal(
        "There is no resend rsd_0.",
        ("delivery", "resends", "rsd_0", "--cancel"),
        ("POST", "/resends/rsd_0/cancel", {}),
        ("/resends/rsd_0/cancel", {}),
        status=404,
        field="id",
    ),
    "to cancel a resend that is over": Refusal(
        "{over} is over since {over_at}.",
        ("delivery", "resends", "{over}", "--cancel"),
        ("POST", "/resends/{over}/cancel", {}),
        ("/resends/{over}/cancel", {}),
        status=409,
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
async def test_every_face_refuses_with_the_same_sentence_and_nothing_is_changed(faces: Faces, what: str) -> None:
    """A command with its exit code, the API with its status and field, a page with its status."""
    await check(faces, REFUSALS[what])
