"""How values are written on the pages, and the numbers that plots are drawn from."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks import clock
from almirant_webhooks.rules.activity import SPANS
from almirant_webhooks.storage.records import Hour
from almirant_webhooks.web.pages import form_fields, formatting, plots

NOW = datetime(2026, 11, 24, 21, 30, tzinfo=UTC)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.long
@given(_JSON, st.booleans())
def test_an_indented_payload_is_the_same_payload(value: Any, ascii_only: bool) -> None:
    """Only spaces between its tokens differ, so that every number and escape is as its producer wrote it."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    made = formatting.pretty(text)
    assert json.loads(made) == value
    if isinstance(value, list | dict):
        assert made == json.dumps(value, ensure_ascii=ascii_only, indent=2)


def test_numbers_keep_their_spelling_and_depth_is_bounded() -> None:
    """Indenting a payload that is all brackets would make it grow with the square of its size."""
    assert formatting.pretty('{"a":1.0e5,"b":123456789012345678901234567890}') == (
        '{\n  "a": 1.0e5,\n  "b": 123456789012345678901234567890\n}'
    )
    for deep in ("[" * 500 + "]" * 500, "[" * 100_000 + "]" * 100_000, "no json", '{"a":'):
        assert formatting.pretty(deep) == deep


@pytest.mark.parametrize("dense", ["1," * 16_000 + "1", "[]," * 10_000 + "[]", '{"a":1},' * 4_000 + "0"])
def test_what_would_become_very_long_is_left_as_it_is(dense: str) -> None:
    """32 KiB of dense JSON, sixty levels deep, would become 2 MB."""
    text = "[" * 60 + dense + "]" * 60
    assert formatting.pretty(text) == text
    assert formatting.beginning(text, 10_000) == text[:10_000]
    assert formatting.pretty("x" * 100_000) == "x" * 100_000


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
def test_every_part_of_a_command_reaches_curl_as_it_was(text: str) -> None:
    """Read by a shell, whatever quotes and line breaks it holds."""
    command = formatting.curl(f"https://a.example/{text}", [("X-A", text), ("Host", "left out")], text)
    printed = subprocess.run(
        ["sh", "-c", command.replace("curl ", "printf '%s\\0' ", 1)], capture_output=True, check=True
    ).stdout.decode()
    assert printed.split("\0")[:-1] == [
        *("--globoff", "--request", "POST", "--url", f"https://a.example/{text}"),
        *("--header", f"X-A: {text}", "--data-raw", text),
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (30, "30 s ago"),
        (90, "1 min ago"),
        (7200, "2 hours ago"),
        (90_000, "1 day ago"),
        (-40, "in 40 s"),
    ],
)
def test_times_are_told_in_words(seconds: int, words: str) -> None:
    """From now, in both directions."""
    assert formatting.ago(clock.text(NOW - timedelta(seconds=seconds)), NOW) == words


def test_what_cannot_be_seen_is_written_out() -> None:
    """Characters that turn a line around, too; line breaks stay."""
    assert formatting.visible("a\u202eb\x07c\nd\te") == "a\\u202eb\\x07c\nd\te"
    assert formatting.visible("Søn & Maríñas 漢字 👩\u200d💻") == "Søn & Maríñas 漢字 👩\u200d💻"


def test_a_plot_has_every_hour_and_shows_a_single_failure() -> None:
    """Delivered goes up and failed goes down, so that they differ by more than colour."""
    rows = [{"start": "2026-11-24T20", "succeeded": 4000, "failed": 1, "duration_ms": 8002, "longest_ms": 90}]
    hours = plots.parts(rows, NOW, SPANS["24h"])
    assert [hour.start[11:13] for hour in hours[-3:]] == ["19", "20", "21"]
    plot = plots.attempts(hours)
    assert (plot.bars[22].up, plot.bars[22].down) == (plots.UP, 3)
    assert plot.words == "4000 attempts delivered, 1 failed (at 20:00 UTC)"
    assert plots.attempts(plots.parts([], NOW, SPANS["24h"])).words == "no attempts"
    latency = plots.latency(hours)
    assert (latency.mean_ms, latency.most_ms) == (2, 90)
    # A row of a list shows the same, as one path for each.
    strip = plots.strip([Hour("2026-11-24T20", 4000, 1)], NOW, SPANS["24h"])
    assert (strip.up, strip.down) == ("M88.4 30v-30h3.2v30z", "M88.4 32v3h3.2v-3z")
    assert (strip.width, strip.succeeded, strip.failed, strip.words) == (96, 4000, 1, plot.words)
    assert plots.strip([], NOW, SPANS["24h"]).words == "no attempts"


def test_a_whole_family_stands_for_its_types() -> None:
    """What another choice takes in is not stored beside it."""
    assert form_fields.covering(["work_item.*", "work_item.moved", "lead.created"]) == ("work_item.*", "lead.created")
    assert form_fields.covering(["lead.*", "*", "a.b.*"]) == ("*",)
    assert form_fields.covering(["a.*", "a.b.*", "a.b.c"]) == ("a.*",)
    groups = form_fields.families(["work_item.created", "work_item.moved", "lead.created"])
    assert [group.pattern for group in groups] == ["work_item.*", "lead.*"]
    assert form_fields.others(["work_item.*", "old.type"], groups) == ["old.type"]
