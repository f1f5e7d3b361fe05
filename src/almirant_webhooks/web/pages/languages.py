"""The languages of the pages: a catalogue of each, and texts and numbers said in it."""

from __future__ import annotations

import gettext
import io
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import get_decimal_symbol

from ...rules.languages import DEFAULT, LANGUAGES
from ...rules.texts import Cased, Text

THIN_SPACE = "\u202f"
LOCALE = files("almirant_webhooks.web") / "locale"
_PAGES, _SCRIPTS = "messages", "scripts"  # what a page's browser is told, and what its scripts say


@dataclass(frozen=True, eq=False)
class Language:
    """A language of the pages; `scripts` has the texts of their scripts, by what they are in English.

    A text of more than one form has a list of them, the one for a single thing first.
    """

    code: str
    name: str
    catalogue: gettext.NullTranslations
    scripts: dict[str, str | list[str]]
    decimal: str
    thousands: str

    def text(self, text: str) -> str:
        """Return a text in this language. A str that is no `Text` is somebody's own words, and stays as it is."""
        if not isinstance(text, Text):
            return text
        words = self.template(text)
        if text.parts:
            words = words.format(**{name: self.part(value) for name, value in text.parts.items()})
        return text.case(words[:1]) + words[1:] if isinstance(text, Cased) else words

    def template(self, text: Text) -> str:
        """Return what a text is made of in this language, a `{name}` in place of each part."""
        if not text.msgid:
            return ""
        if text.plural:
            return self.catalogue.ngettext(text.msgid, text.plural, text.number)
        return self.catalogue.gettext(text.msgid)

    def part(self, value: object) -> object:
        """Return a part of a text as it is said within it."""
        if isinstance(value, Text):
            return self.text(value)
        return _Number(value, self) if isinstance(value, int | float) else value


class _Number:
    """A number in a text, which is written as the language has it."""

    def __init__(self, value: float, language: Language) -> None:
        self._value, self._language = value, language

    def __str__(self) -> str:
        return format(self, "")

    def __format__(self, spec: str) -> str:
        words = format(self._value, spec)
        return words.translate({ord(","): self._language.thousands, ord("."): self._language.decimal})


@cache
def language(code: str) -> Language:
    """Return a language of ours; its catalogue is read once."""
    if code == DEFAULT:
        return Language(code, LANGUAGES[code], gettext.NullTranslations(), {}, ".", ",")
    return Language(code, LANGUAGES[code], _catalogue(code), _scripts(code), get_decimal_symbol(code), THIN_SPACE)


def _source(code: str, domain: str) -> io.BytesIO:
    return io.BytesIO((LOCALE / code / "LC_MESSAGES" / f"{domain}.po").read_bytes())


def _catalogue(code: str) -> gettext.GNUTranslations:
    """Compile a catalogue: the file that translators write is the one that every way of installing has."""
    compiled = io.BytesIO()
    write_mo(compiled, read_po(_source(code, _PAGES), locale=code))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _scripts(code: str) -> dict[str, str | list[str]]:
    texts: dict[str, str | list[str]] = {}
    for message in read_po(_source(code, _SCRIPTS), locale=code):
        if isinstance(message.id, str):
            if message.id:
                texts[message.id] = str(message.string)
        else:
            texts[message.id[0]] = [*(message.string or ())]
    return texts


def script(code: str) -> str:
    """Return the file that gives the pages' scripts their texts."""
    return f"globalThis.almirantTexts = {json.dumps(language(code).scripts, ensure_ascii=False)};\n"
