"""Sentences for people whose times and ids each face writes in its own way: a page as `<time>` and links, a command as text."""

from __future__ import annotations

from .texts import Text

Sentence = Text  # its parts may be `At`s and `DeliveryId`s


class At(str):
    """A time in a sentence, as stored: ISO-8601 in UTC."""

    __slots__ = ()


class DeliveryId(str):
    """A delivery in a sentence, by its id."""

    __slots__ = ()
