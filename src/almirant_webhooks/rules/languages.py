"""The languages that pages have, and which one a browser asks for."""

from __future__ import annotations

import re

# Each as its own speakers call it. A language has a folder in `web/locale`; English is that of the texts themselves.
LANGUAGES = {"en": "English", "es": "Español"}
DEFAULT = "en"
_MOST_RANGES = 20
_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9]{1,8})*\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


def preferred(header: str) -> str:
    """Return the language of ours that an `Accept-Language` asks for most; the default where it names none of them.

    Of a language with a region (`es-MX`) the language counts. Parts that cannot be read are passed over.
    """
    best, weight = DEFAULT, 0.0
    for part in header.split(",")[:_MOST_RANGES]:
        match = _RANGE.fullmatch(part)
        if match is None or match[1].lower() not in LANGUAGES:
            continue
        asked = 1.0 if match[2] is None else float(match[2])
        if asked > weight:
            best, weight = match[1].lower(), asked
    return best
