"""The look of the pages: what the application that links to them is called, and how it looks."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from ..rules import colours
from ..rules.languages import LANGUAGES
from .fields import Section, as_list

LONGEST_NAME = 40
LOGOS = {".svg": "image/svg+xml", ".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg"}
_ORIGIN = re.compile(r"(https?)://((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.?)+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
MOST_LOGO = 256 * 1024  # bytes


def _name(value: str) -> str:
    name = value.strip()
    if len(name) > LONGEST_NAME or any(unicodedata.category(char)[0] == "C" for char in name):
        raise ValueError(f"must be at most {LONGEST_NAME} characters that can be seen")
    return name


def _logo(value: str) -> str:
    if value and ("\0" in value or Path(value).suffix.lower() not in LOGOS):
        raise ValueError(f"{value!r} is not the path of a picture; name a file that ends in {', '.join(LOGOS)}")
    return value


def _accent(value: str) -> str:
    return colours.check(value) if value.strip() else ""


def _back(value: str) -> str:
    text = value.strip()
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if text and (not is_url or not text.isascii() or any(char in " \"'<>\\" or char < " " for char in text)):
        raise ValueError(f"{value!r} is not an address; write https://HOST/PATH")
    return text


def _origin(value: str) -> str:
    text = value.strip().lower().removesuffix("/")
    match = _ORIGIN.fullmatch(text)
    if match is None or (match[1] == "http" and match[2] not in ("localhost", "127.0.0.1", "[::1]")):
        raise ValueError(
            f"{value!r} is not an origin that may frame the pages; write https://HOST or https://HOST:PORT, without path "
            "or * (http:// for localhost alone)"
        )
    return text


def _language(value: str) -> str:
    if value and value not in LANGUAGES:
        raise ValueError(
            f"{value!r} is not a language of the pages; there are {', '.join(LANGUAGES)}, or '' for the browser's"
        )
    return value


class Pages(Section):
    """How the pages look, beside the application that links to them, and who may show them in a frame."""

    name: Annotated[str, AfterValidator(_name)] = ""
    logo: Annotated[str, AfterValidator(_logo)] = ""
    accent: Annotated[str, AfterValidator(_accent)] = ""
    back: Annotated[str, AfterValidator(_back)] = ""
    language: Annotated[str, AfterValidator(_language)] = ""
    frame_ancestors: Annotated[
        tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(as_list), Field(max_length=20)
    ] = ()
