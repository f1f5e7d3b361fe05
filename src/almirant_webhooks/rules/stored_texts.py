"""Texts that rows of the database have, and those of rooms below, found again in what they were made of, so that a page can translate them.

A row has the English text alone: who reads it in the log, by SQL or by the API needs nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from string import Formatter

from .texts import Text

# Why the service disabled a webhook, other than for its failures.
_UNOPENABLE = (
    Text("the secret of {owner} cannot be opened: {reason}"),
    Text("the next secret of {owner} cannot be opened: {reason}"),
    Text("a header's value of {owner} cannot be opened: {reason}"),
)
# Of each text that has values in it; one without any is found by itself.
_FORMS = (
    # Of `clock.py`, which stands below.
    Text("{error}, or as how long ago: 2h"),
    Text("{value} is not a time; write it as 2026-01-31 or 2026-01-31T09:30:00Z"),
    Text("{value} is out of range"),
    Text("{value} is too long ago"),
    Text("{value} is not a duration; write a whole number and a unit, as in 500ms, 10s, 5m, 2h, 30d"),
    # Of rows.
    Text("no answer within {seconds} s"),
    Text("no answer from DNS within {seconds} s"),
    Text("TLS: the certificate was not accepted: {reason}"),
    Text("TLS: {reason}"),
    Text("our own network was down ({cause})"),
    Text("no connection to the proxy: {cause}"),
    Text("no answer from the proxy: {cause}"),
    Text("the proxy could not reach the receiver ({status})"),
    Text("the proxy wants another user or password ({status})"),
    Text("the proxy refused the receiver ({status})"),
    Text("the proxy itself failed ({status})"),
    Text("the receiver answered {status}"),
    Text("nothing but failures since {since}, the last one: {cause}"),
    Text("nothing but failures since {since}"),
    Text("status {status}"),
    Text("this release does not know the template {template}"),
    Text("the body that the template makes of it is larger than {most} KiB"),
    Text("its template is none: {why}"),
    *_UNOPENABLE,
    Text("The secret of {owner} cannot be opened: {reason}."),
    Text("The next secret of {owner} cannot be opened: {reason}."),
    Text("A header's value of {owner} cannot be opened: {reason}."),
    Text("A secret or a header's value must not begin with {prefix}, as sealed ones do."),
    Text("decompressed from {coding}, its first {size} KiB"),
    Text("decompressed from {coding}"),
    Text("compressed with {coding}, which is not read here"),
    Text("not {coding}, although its header says so"),
    Text("read as {charset}"),
    Text("{column} is not {encoding} (byte {place})"),
    Text("{column} contains a NUL character"),
    Text("payload is larger than {most} KiB ({size} bytes)"),
    Text("project_id {project} is reserved for events about webhooks themselves"),
    Text("event_type begins with {prefix}, which is reserved for events about webhooks themselves"),
    # The same words for what is another project's as for what is not there.
    Text("There is no webhook {webhook_id}."),
    Text("There is no delivery {delivery_id}."),
    Text("There is no resend {resend_id}."),
    Text("There is no API token {token_id}."),
    Text("This is not for a {role}."),
    Text("The body did not come within {seconds} s."),
)
# Those that other modules write into a row, of which each is whole.
KNOWN = (
    Text("no answer from DNS"),
    Text("no answer"),
    Text("the host name was not found"),
    Text("no name server gave an answer"),
    Text("no route to the host"),
    Text("the request could not be made"),
    Text("a kept connection was closed before an answer"),
    Text("the connection closed within the answer"),
    Text("the answer is not HTTP"),
    Text("the receiver answered in HTTP/2, although it was asked in HTTP/1.1"),
    Text("the receiver answered with TLS to a request without it"),
    Text("the connection closed before it was secure"),
    Text("connection refused"),
    Text("connection reset"),
    Text("connecting took too long"),
    Text("connection closed before an answer"),
    Text("no connection"),
    Text("the receiver does not speak TLS 1.2 or newer"),
    Text("the receiver answered with something else than TLS"),
    Text("the receiver asks for a client certificate"),
    Text("the receiver does not speak HTTP/1.1"),
    Text("no secure connection could be agreed on"),
    Text("its issuer is not known, or the receiver does not send the whole chain"),
    Text("it is not valid yet"),
    Text("it has expired"),
    Text("it is self-signed"),
    Text("it is for another host name"),
    Text("it is for another address"),
    Text("verifying it failed"),
    Text("the proxy's answer is not HTTP"),
    Text("no connection to the proxy"),
    Text("no answer from the proxy"),
    Text("the daemon has too many files open"),
    Text("the daemon's machine has no memory left"),
    Text("the daemon can start no more threads"),
    Text("the daemon could give no sign of life, and others may send in its place"),
    Text("internal error"),
    Text("the daemon itself stood still"),
    Text("the daemon stopped during this attempt"),
    Text("redirects are not followed"),
    Text("discarded when the webhook was enabled"),
    Text("its replay was cancelled"),
    Text("its event is gone from the database"),
    Text("its content was erased"),
    Text("event_id is already used in this project with other content"),
    Text("occurred_at was changed after the event had been taken"),
    Text("its webhook was disabled for longer than deliveries are held"),
    Text("event_id must be 1 to 128 letters, digits, _, - or :"),
    Text("occurred_at must be a UTC time written YYYY-MM-DDTHH:MM:SS.mmmZ"),
    Text("payload is not a JSON object"),
    Text("project_id must be 1 to 128 printable ASCII characters without spaces"),
    Text("event_type must be dotted lower-case words, at most 128 characters"),
)
# Words that rows and settings have, and that pages say.
NAMES = (
    Text("pending"),
    Text("held"),
    Text("succeeded"),
    Text("failed"),
    Text("cancelled"),
    Text("rejected"),
    Text("unmatched"),
    Text("filtered out"),
    Text("enabled"),
    Text("disabled"),
    Text("failing"),
    Text("running"),
    Text("finished"),
    Text("timeout"),
    Text("connection error"),
    Text("blocked"),
    Text("interrupted"),
    Text("nothing yet"),
    Text("not subscribed to this type"),
    Text("webhook created later"),
    Text("a test of another webhook"),
    Text("Work item"),  # families of the catalogue
    Text("Lead"),
    Text("Sprint"),
)
# Rows of before have these; each is said as it is written now.
_BEFORE = {
    "held longer than retention.held": Text("its webhook was disabled for longer than deliveries are held"),
}
# What a value is made of, where a name of somebody's could stand around it; all else is any text.
_SHAPES = {"at": "[0-9TZ:.+-]+", **dict.fromkeys(("count", "most", "place", "seconds", "size"), "[0-9.,]+")}
_LONGEST = 1_000  # characters; no row and no room below makes a longer one, and looking at it would take long


def recognised(text: str) -> Text:
    """Return a text that was stored as it was made: its values are texts too. One that is not known stands for itself.

    So does one of more than 1,000 characters, which can only have somebody's own words in it.
    """
    if len(text) > _LONGEST:
        return Text(text)
    if text in _BEFORE:
        return _BEFORE[text]
    return matched(text, _FORMS, lambda _, value: recognised(value)) or Text(text)


def matched(text: str, forms: Iterable[str], said: Callable[[str, str], object]) -> Text | None:
    """Return a text as the first of the forms that it has, each value in it by `said` of its name and itself; else None."""
    for form in forms:
        if (match := _pattern(form).fullmatch(text)) is not None:
            return Text(form, **{name: said(name, value) for name, value in match.groupdict().items()})
    return None


def is_unopenable(disabled_reason: str | None) -> bool:
    """Tell whether the service disabled a webhook as its secret or headers cannot be opened."""
    return disabled_reason is not None and recognised(disabled_reason).msgid in _UNOPENABLE


@cache
def _pattern(form: str) -> re.Pattern[str]:
    pieces = (
        re.escape(words) + (f"(?P<{name}>{_SHAPES.get(name, '.+')})" if name else "")
        for words, name, _, _ in Formatter().parse(form)
    )
    return re.compile("".join(pieces), re.DOTALL)
