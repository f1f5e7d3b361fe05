"""Checks of a signature to paste into a receiver, one for each language."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

_TITLES = {"python": "Python", "node": "Node.js", "php": "PHP", "go": "Go"}


class Verifier(NamedTuple):
    """A function that tells whether a request is ours; the secret is in the environment, as `WEBHOOK_SECRET`."""

    name: str
    title: str
    code: str


@cache
def verifiers() -> tuple[Verifier, ...]:
    """Return every verifier, in the order in which the page shows them."""
    folder = files("almirant_webhooks.web") / "verifiers"
    return tuple(
        Verifier(name, title, (folder / f"{name}.txt").read_text(encoding="utf-8")) for name, title in _TITLES.items()
    )
