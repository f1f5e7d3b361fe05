"""The templates: every value is escaped, an unknown name is an error, and what cannot be seen is written out.

Each language has an environment of its own, in which texts are said in it; what a template is compiled to is the same for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from types import CodeType
from typing import Any

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup, escape

from ...ops.threads import Threads
from ...rules import conditions, event_schemas
from ...rules.languages import DEFAULT, LANGUAGES
from ...rules.names import name_of
from ...rules.sentences import At, DeliveryId
from ...rules.stored_texts import recognised
from ...rules.texts import Cased, Text
from ...rules.values import WORDS
from . import audit_words, formatting, naming
from .assets import asset
from .languages import Language, language

PATIENCE = 2.0  # seconds
PAUSE = 0.02  # seconds between two templates that are compiled ahead
_OF_ALL = ("base.html", "parts.html")  # what every page is made of


class Compiled(BytecodeCache):
    """What templates were compiled to, in memory."""

    def __init__(self) -> None:
        self._codes: dict[str, CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give a bucket its code, if there is one."""
        bucket.code = self._codes.get(bucket.key)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a bucket."""
        if bucket.code is not None:
            self._codes[bucket.key] = bucket.code


COMPILED = Compiled()


class Saying:
    """Says texts and values in a language, as HTML."""

    def __init__(self, language: Language, templates: Environment) -> None:
        self._language, self._templates = language, templates
        self._said: dict[str, Markup] = {}  # texts without values, of which a page has hundreds

    def finalize(self, value: object) -> object:
        """Show what would be invisible or turn a line around; Markup is a template's own."""
        if value is None:
            return ""
        if isinstance(value, Text):
            return formatting.visible(self._language.text(value))
        return formatting.visible(value) if type(value) is str else value

    def gettext(self, msgid: str, /, **values: object) -> Markup:
        """Return a text of a template, with the values of its names."""
        if values:
            return self._filled(self._language.catalogue.gettext(msgid), values)
        if msgid not in self._said:
            self._said[msgid] = self._filled(self._language.catalogue.gettext(msgid), values)
        return self._said[msgid]

    def ngettext(self, singular: str, plural: str, number: int, /, **values: object) -> Markup:
        """Return the one of two texts of a template that goes with a number."""
        return self._filled(self._language.catalogue.ngettext(singular, plural, number), values)

    def _filled(self, words: str, values: Mapping[str, object]) -> Markup:
        return Markup(words % {name: escape(self.finalize(value)) for name, value in values.items()})  # noqa: S704 - a text of ours

    def worded(self, text: Text, now: datetime) -> Markup:
        """Return a sentence: a time in it as pages show one, a delivery as a link."""
        words = escape(self._language.template(text))
        parts = {name: self._part(value, now) for name, value in text.parts.items()}
        return words.format(**parts) if parts else words

    def _part(self, value: object, now: datetime) -> object:
        if isinstance(value, At):
            return self._templates.get_template("parts.html").module.when(value, now)  # type: ignore[attr-defined]
        if isinstance(value, DeliveryId):
            return Markup('<a href="/deliveries/{0}"><code>{0}</code></a>').format(value)
        if isinstance(value, Text) and not isinstance(value, Cased):
            return self.worded(value, now)
        words = self._language.part(value)
        return formatting.visible(words) if isinstance(words, str) else words

    def ago(self, moment: str, now: datetime) -> Markup:
        """Write how far a time is from now, so that the page counts on by itself."""
        words = self._language.text(formatting.ago(moment, now))
        return Markup('<time data-ago datetime="{}">{}</time>').format(moment, words)

    def notes(self, notes: str) -> str:
        """Write what was done with a body so that it can be read."""
        return "; ".join(self._language.text(recognised(note)) for note in notes.split("; "))


def _kept(value: str) -> Markup:
    """Escape a value and leave its invisible characters: for fields that are sent back and texts that are copied."""
    return escape(value)


@cache
def environment(language: Language) -> Environment:
    """Return the templates' environment in a language, made once."""
    templates = Environment(
        loader=PackageLoader("almirant_webhooks.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        bytecode_cache=COMPILED,
        extensions=["jinja2.ext.i18n"],
    )
    saying = Saying(language, templates)
    templates.finalize = saying.finalize
    templates.policies["ext.i18n.trimmed"] = True
    templates.newstyle_gettext = True  # type: ignore[attr-defined]  # its own texts get their values unescaped
    templates.filters |= {
        "ago": saying.ago,
        "audit_action": audit_words.action,
        "audit_actor": audit_words.actor,
        "audit_detail": audit_words.detail,
        "beginning": formatting.beginning,
        "bytes": lambda text: len(text.encode()),
        "condition": naming.condition,
        "conditions": lambda filter_: [conditions.said(condition) for condition in filter_],
        "curl": formatting.curl,
        "day_and_time": formatting.day_and_time,
        "family_name": lambda family: recognised(family.name.replace("_", " ").capitalize()),
        "filter_words": conditions.recognised,
        "host": partial(name_of, None),
        "kept": _kept,
        "meaning": event_schemas.meaning,
        "name_of": name_of,
        "notes": saying.notes,
        "number": formatting.number,
        "percent": formatting.percent,
        "pretty": formatting.pretty,
        "resend_state": naming.resend_state,
        "role": naming.role,
        "sample": event_schemas.sample_text,
        "schema": event_schemas.schema_text,
        "size": formatting.size,
        "span": formatting.span,
        "stored": lambda text: recognised(str(text)),
        "took": formatting.took,
        "utc": formatting.utc,
        "worded": saying.worded,
    }
    templates.globals |= {"asset": asset, "_": saying.gettext, "gettext": saying.gettext, "ngettext": saying.ngettext}
    templates.globals["status_words"] = list(WORDS)
    return templates


def render(language: Language, template: str, values: Mapping[str, Any]) -> str:
    """Return a page in a language."""
    return environment(language).get_template(template).render(values)


class Ahead:
    """Compiles all templates, one by one in a thread, from the first page on that is asked for.

    So the event loop compiles those of the first pages alone, until the thread is done, and who asks for no page pays nothing.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._task: asyncio.Task[None] | None = None
        self._can_begin = asyncio.Event()

    async def prepare(self) -> None:
        """Begin, if nobody has yet, and wait a moment for the templates that every page is made of."""
        if self._task is None:
            self._task = asyncio.create_task(self._compile(), name="templates")
        with suppress(TimeoutError):  # the threads may all wait for names
            async with asyncio.timeout(PATIENCE):
                await self._can_begin.wait()

    def cancel(self) -> None:
        """Compile no more of them."""
        if self._task is not None:
            self._task.cancel()

    async def _compile(self) -> None:
        try:
            templates = await self._threads.call(_environment_of, DEFAULT).future
            for name in _OF_ALL:
                await self._threads.call(templates.get_template, name).future
        finally:
            self._can_begin.set()
        for code in LANGUAGES:
            templates = await self._threads.call(_environment_of, code).future
            for name in await self._threads.call(templates.list_templates).future:
                await self._threads.call(templates.get_template, name).future
                await asyncio.sleep(PAUSE)


def _environment_of(code: str) -> Environment:
    return environment(language(code))
