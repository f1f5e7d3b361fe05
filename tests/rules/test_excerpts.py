"""What a receiver says of itself, in one line."""

from __future__ import annotations

import json

import pytest

from almirant_webhooks.rules.excerpts import MAX_LENGTH, excerpt


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": "build queue is full", "retryable": true}', "build queue is full"),
        ('{"error": {"code": 17, "message": "no such channel"}}', "no such channel"),
        ('{"errors": [{"detail": "name is taken"}, {"detail": "other"}]}', "name is taken"),
        ('{"type": "about:blank", "title": "Conflict", "detail": "locked by bob"}', "locked by bob"),
        ('["", " late "]', "late"),
        ("invalid_token\n", "invalid_token"),
        ("line one\r\n  line two", "line one line two"),
        ("<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>x</body></html>", "502 Bad Gateway"),
        ("<h1>Sorry</h1><script>alert(1)</script><p>come back</p>", "Sorry come back"),
        ('{"received": true, "count": 3}', ""),
        ("", ""),
        ("null", ""),
        ('{"error": ""}', ""),
    ],
)
def test_the_words_of_an_error_are_found_where_programs_put_them(body: str, words: str) -> None:
    """In JSON of many shapes, in plain text, in a page of a proxy."""
    assert excerpt(body) == words


@pytest.mark.parametrize(
    "body",
    [
        "x" * 100_000,
        "<" * 65_536,
        "<p " * 20_000,
        "<script>" * 8_000,
        "[" * 5_000,
        json.dumps({"error": "y " * 5_000}),
        '{"error": ' * 400 + '"deep"' + "}" * 400,
    ],
)
def test_a_hostile_answer_costs_little_and_says_little(body: str) -> None:
    """One line of bounded length, whatever comes."""
    line = excerpt(body)
    assert len(line) <= MAX_LENGTH
    assert "\n" not in line
