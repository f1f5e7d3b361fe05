"""The accent colour of the pages: one that can be read on paper, and what it becomes on a dark ground (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

import re

PAPER = "#f5f4ef"  # the lightest and the darkest ground on which the accent stands, as in `app.css`
NIGHT = "#1a2a3f"
LEAST = 4.5  # contrast of text
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def check(text: str) -> str:
    """Return a colour as `#rrggbb`; raises `ValueError` with what is wrong in words."""
    colour = text.strip().lower()
    if not _COLOUR.fullmatch(colour):
        raise ValueError(f"{text!r} is not a colour; write it as #1d4f91")
    if contrast(colour, PAPER) < LEAST:
        raise ValueError(
            f"{text!r} cannot be read on a light page; choose a darker one (a contrast of {LEAST} to {PAPER})"
        )
    return colour


def on_dark(colour: str) -> str:
    """Return the colour mixed with white, as little as it takes to be read on a dark page."""
    parts = _parts(colour)
    for white in range(21):
        mixed = "#" + "".join(f"{round(part + (255 - part) * white / 20):02x}" for part in parts)
        if contrast(mixed, NIGHT) >= LEAST:
            return mixed
    return "#ffffff"


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in _parts(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))
