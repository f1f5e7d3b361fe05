"""Texts for people: written once, in English, and made so that a page can say them in its reader's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Self


class Text(str):
    """A text in English that knows what it was made of: `msgid`, as catalogues have it, and a value for each `{name}` in it.

    Whoever needs no other language uses it as the str that it is; what is joined to it by `+` or in an f-string is one no
    more. Parts may be texts themselves. Where there are no parts, braces are just braces.
    """

    __slots__ = ("msgid", "number", "parts", "plural")
    msgid: str
    parts: Mapping[str, object]
    plural: str  # the msgid of more than one; empty for a text that counts nothing
    number: int

    def __new__(cls, msgid: str, /, **parts: object) -> Self:
        """Make a text of its `msgid`, filled with its parts if there are any."""
        text = super().__new__(cls, msgid.format(**parts) if parts else msgid)
        text.msgid, text.parts, text.plural, text.number = msgid, parts, "", 1
        return text


def plural(singular: str, plural: str, number: int, /, **parts: object) -> Text:
    """Return the one of two texts that goes with a number, which is its part `number` where no other value is given."""
    parts.setdefault("number", number)
    text = Text(singular if number == 1 else plural, **parts)
    text.msgid, text.plural, text.number = singular, plural, number
    return text


def amount(number: int, *, more: bool = False) -> Text:
    """Return a number as people read it, with a mark where there are more: `1,200`, `1,000+`."""
    return Text("{number:,}+", number=number) if more else Text("{number:,}", number=number)


class Cased(Text):
    """A text whose first letter is made small, or large, in every language: one that goes on, or begins, a sentence."""

    __slots__ = ("case",)
    case: Callable[[str], str]

    def __new__(cls, text: str, case: Callable[[str], str]) -> Self:
        """Take a text, and `str.lower` or `str.upper` for its first letter."""
        cased = super().__new__(cls, "{text}", text=text)
        english = str.__new__(cls, case(text[:1]) + text[1:])
        english.msgid, english.parts, english.plural, english.number = cased.msgid, cased.parts, "", 1
        english.case = case
        return english

    def __getnewargs__(self) -> tuple[str, Callable[[str], str]]:  # type: ignore[override]  # for a copy
        return str(self.parts["text"]), self.case


def listed(texts: Sequence[str]) -> Text:
    """Return texts one behind the other, with commas between them."""
    return _joined("{first}, {rest}", texts)


def sentences(texts: Sequence[str]) -> Text:
    """Return parts of a sentence one behind the other, with semicolons between them."""
    return _joined("{first}; {rest}", texts)


def one_by_one(texts: Sequence[str]) -> Text:
    """Return sentences one behind the other."""
    return _joined("{first} {rest}", texts)


def _joined(msgid: str, texts: Sequence[str]) -> Text:
    if not texts:
        return Text("{text}", text="")
    first, *rest = texts
    return Text(msgid, first=first, rest=_joined(msgid, rest)) if rest else Text("{text}", text=first)
