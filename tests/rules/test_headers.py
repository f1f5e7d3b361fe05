"""Which headers a webhook may have, and what a change makes of those that it has."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.model import MASK, Refused
from almirant_webhooks.rules.headers import check, masked, merge, together

SECRET = "s3cret-s3cret"


@pytest.mark.parametrize(
    "name", ["Authorization", "X-Team", "x", "X" * 64, "!#$%&'*+-.^_`|~9", "Accept", "Contents", "webhook"]
)
@pytest.mark.parametrize("value", ["a", "Bearer abc", "a  b", "~!", "a" * 2048, MASK, None])
def test_a_header_of_rfc_9110_is_taken_as_it_is(name: str, value: str | None) -> None:
    """The name in its own case, the value to the byte."""
    assert check({name: value}) == {name: value}


@pytest.mark.parametrize(
    "name",
    [
        "Host", "HOST", "Content-Length", "content-type", "Content-", "Connection", "Transfer-Encoding", "TE", "te", "Trailer",
        "Upgrade", "Expect", "Accept-Encoding", "User-Agent", "Cookie", "Proxy-Authorization", "proxy-", "Forwarded",
        "X-Forwarded-For", "x-forwarded-", "X-Almirant-Event", "X-ALMIRANT-", "webhook-id", "Webhook-Signature",
        "", " ", "a b", "a:b", "a\r\nb", "a\n", "é", "X" * 65, "(x)", "X\0", "\ufeffX",
    ],
)  # fmt: skip
def test_a_name_that_is_not_free_or_none_is_refused(name: str) -> None:
    """Whatever its case; the sentence has no value."""
    with pytest.raises(Refused) as refusal:
        check({name: SECRET})
    assert refusal.value.field == "headers"
    assert SECRET not in refusal.value.message


@given(st.text(max_size=40))
def test_a_value_that_could_end_its_line_or_is_no_ascii_is_never_taken(value: str) -> None:
    """Over all of Unicode; what is refused is not said, as it is a secret."""
    is_fine = re.fullmatch(r"[!-~]([ -~]*[!-~])?", value) is not None
    if is_fine:
        assert check({"X-Team": value}) == {"X-Team": value}
        return
    with pytest.raises(Refused) as refusal:
        check({"X-Team": value})
    with pytest.raises(Refused, match=re.escape(refusal.value.message)):
        check({"X-Team": "" if not value else " a" if value != value.strip() else "\x7f"})


@given(st.text(min_size=3, max_size=40))
def test_a_name_that_is_none_is_not_said(name: str) -> None:
    """It may be a secret in the wrong place: `Bearer abc` without its name and colon."""
    if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        return  # too long or not free: it has no value in it
    with pytest.raises(Refused) as refusal:
        check({name: "a"})
    with pytest.raises(Refused, match=re.escape(refusal.value.message)):
        check({"": "a"})


def test_of_a_change_each_header_is_set_kept_by_its_mask_or_taken_away() -> None:
    """Names compare without case, the newest spelling counts, the order stays; None takes all away."""
    stored = (("A", "1"), ("B", "2"), ("C", "3"))
    assert merge(stored, {"b": "4", "C": None, "D": "5", "a": MASK, "E": None}) == (("a", "1"), ("b", "4"), ("D", "5"))
    assert merge(stored, {}) == stored
    assert merge(stored, None) == ()
    with pytest.raises(Refused, match="no value yet"):
        merge((), {"A": MASK})


def test_a_webhook_has_at_most_20_headers_whatever_changes() -> None:
    """As many may be taken away in the same change; more than that is not looked at."""
    stored = tuple((f"A{number}", "a") for number in range(20))
    new = {f"B{number}": "b" for number in range(20)}
    assert len(merge(stored, check({**{name: None for name, _ in stored}, **new}))) == 20
    assert merge(stored, {"a0": "b"})[0] == ("a0", "b")
    for change in ({"C": "c"}, new):
        with pytest.raises(Refused, match="at most 20"):
            merge(stored, check(change))
    for listed in ({**new, "C": "c"}, {f"A{number}": None for number in range(41)}):
        with pytest.raises(Refused, match="at most 20"):
            check(listed)


def test_a_header_takes_the_place_of_ours_of_the_same_name() -> None:
    """`Accept` alone can be: the others of ours are not free. Without any nothing is made anew."""
    ours = (("Host", "a"), ("Accept", "*/*"))
    assert together(ours, ()) is ours
    assert together(ours, (("accept", "text/html"), ("X", "1"))) == (("Host", "a"), ("accept", "text/html"), ("X", "1"))


def test_everybody_sees_the_names_and_a_mask() -> None:
    """The mask tells nothing of the value, nor its length."""
    assert masked((("A", "1"), ("B", SECRET))) == {"A": MASK, "B": MASK}
    assert masked(()) is None
