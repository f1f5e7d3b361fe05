"""The catalogue of the customer's page, patterns, and the samples."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.model import MAX_PAYLOAD_BYTES, Refused
from almirant_webhooks.rules import event_types
from almirant_webhooks.rules.event_types import (
    CATALOGUE,
    NOTICES,
    check_event_type,
    check_pattern,
    check_producers_type,
    is_well_formed,
    patterns_for,
)

WORDS = st.lists(st.text("abz019_", min_size=1, max_size=8), min_size=2, max_size=5)


def test_the_catalogue_is_the_nine_types_of_the_page() -> None:
    """In the page's order, each well formed."""
    assert CATALOGUE == (
        "work_item.created",
        "work_item.updated",
        "work_item.moved",
        "work_item.archived",
        "lead.created",
        "lead.updated",
        "lead.stage_changed",
        "sprint.created",
        "sprint.closed",
    )
    assert all(is_well_formed(event_type) for event_type in CATALOGUE)


@given(st.lists(st.text("abz019_", min_size=1, max_size=8), min_size=1, max_size=5))
def test_a_notice_is_matched_by_itself_and_its_families_alone(words: list[str]) -> None:
    """`*` is what producers send."""
    event_type = ".".join(["almirant", *words])
    patterns = patterns_for(event_type)
    assert patterns[0] == event_type
    assert patterns[1] == "almirant.*"
    assert len(patterns) == len(set(patterns)) == len(words) + 1
    assert "*" not in patterns


@pytest.mark.parametrize("event_type", ["almirant.webhook.failing", "almirant.x"])
def test_a_producer_s_type_is_none_of_the_service_s(event_type: str) -> None:
    """Neither one that there is nor another one; what resembles it is a producer's."""
    with pytest.raises(Refused, match="are the service's own") as refusal:
        check_producers_type(event_type)
    assert refusal.value.field == "event_type"
    assert check_producers_type(f"my_{event_type}") == f"my_{event_type}"


@given(WORDS)
def test_a_type_is_matched_by_itself_its_families_and_the_star(words: list[str]) -> None:
    """And by nothing else: one pattern for each of its words, and `*`."""
    event_type = ".".join(words)
    patterns = patterns_for(event_type)
    assert is_well_formed(event_type)
    assert (patterns[0], patterns[-1]) == (event_type, "*")
    assert len(patterns) == len(set(patterns)) == len(words) + 1
    assert all(event_type.startswith(pattern.removesuffix("*")) for pattern in patterns[1:])


@pytest.mark.parametrize("broken", ["", "created", "a.", ".a", "a..b", "A.b", "a.b\n", "a b.c", "é.a", "a.*", "a.b-c"])
def test_a_broken_type_is_not_well_formed(broken: str) -> None:
    """Dotted lower-case words, and nothing around them."""
    assert not is_well_formed(broken)


def test_a_type_has_at_most_128_characters() -> None:
    """128 are a type, 129 are none."""
    assert is_well_formed("a." + "b" * 126)
    assert not is_well_formed("a." + "b" * 127)


@pytest.mark.parametrize("pattern", [*CATALOGUE, "work_item.*", "lead.*", "sprint.*", "*"])
def test_a_pattern_that_fits_the_catalogue_is_kept(pattern: str) -> None:
    """Without the spaces around it."""
    assert check_pattern(f" {pattern} ") == pattern


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("work_item.create", "work_item.created"),
        ("Sprint.Closed", "sprint.closed"),
        ("workitem.*", "work_item.*"),
        ("leads.*", "lead.*"),
    ],
)
def test_a_pattern_that_fits_nothing_is_refused_with_a_suggestion(pattern: str, meant: str) -> None:
    """At its field."""
    with pytest.raises(Refused, match="Did you mean") as refusal:
        check_pattern(pattern)
    assert f"Did you mean {meant!r}?" in refusal.value.message
    assert refusal.value.field == "events"


@pytest.mark.parametrize("pattern", ["", "**", "work_item*", "*.created", "work_item.created.*"])
def test_what_looks_like_a_pattern_and_is_none_is_refused(pattern: str) -> None:
    """A star stands for the rest after a dot, or for all; it matches nothing else."""
    with pytest.raises(Refused) as refusal:
        check_pattern(pattern)
    assert refusal.value.field == "events"


def test_what_resembles_nothing_is_refused_with_the_catalogue() -> None:
    """So that the next try can be right."""
    with pytest.raises(Refused, match=r"Known are work_item\.created, .*, sprint\.closed, .*work_item\.\*\."):
        check_pattern("invoice.paid")


def test_extra_types_add_to_the_catalogue() -> None:
    """As exact types, in their families, and among the suggestions."""
    extra = ("invoice.line.paid",)
    for pattern in ("invoice.line.paid", "invoice.line.*", "invoice.*", "lead.created"):
        assert check_pattern(pattern, extra) == pattern
    with pytest.raises(Refused, match=r"Did you mean 'invoice\.line\.paid'\?"):
        check_pattern("invoice.line.payd", extra)


def test_an_event_s_own_type_is_exact() -> None:
    """A pattern is no type; a refusal stands at its field."""
    assert check_event_type("lead.created") == "lead.created"
    with pytest.raises(Refused, match=r"Did you mean 'lead\.created'\?") as refusal:
        check_event_type("lead.create")
    assert refusal.value.field == "event_type"
    with pytest.raises(Refused):
        check_event_type("lead.*")


@pytest.mark.parametrize("notice", NOTICES)
def test_every_notice_has_the_sample_of_what_operators_are_told(notice: str) -> None:
    """With a count where a notice stands for several."""
    sample = dict(event_types.sample_payload(notice))
    assert sample.pop("count", None) == (3 if notice == "almirant.delivery.failed" else None)
    assert sample == event_types.sample_payload(notice.removeprefix("almirant."))


@pytest.mark.parametrize("event_type", [*CATALOGUE, "invoice.paid"])
def test_every_type_has_a_sample_that_can_be_sent(event_type: str) -> None:
    """A JSON object about its subject, within the size of a payload."""
    sample = event_types.sample_payload(event_type)
    assert 0 < len(json.dumps(sample).encode()) < MAX_PAYLOAD_BYTES
    subject = {"work_item": "workItem"}.get(event_type.split(".")[0], event_type.split(".")[0])
    assert sample[subject]["id"]
