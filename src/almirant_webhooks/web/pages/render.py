"""The templates: every value is escaped, an unknown name is an error, and what cannot be seen is written out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ...rules import conditions
from . import formatting
from .assets import asset


def _finalize(value: object) -> object:
    """Show what would be invisible or turn a line around; Markup is a template's own."""
    if value is None:
        return ""
    return formatting.visible(value) if type(value) is str else value


def _kept(value: str) -> Markup:
    """Escape a value and leave its invisible characters: for fields that are sent back and texts that are copied."""
    return escape(value)


@cache
def environment() -> Environment:
    """Return the templates' environment, made once."""
    templates = Environment(
        loader=PackageLoader("almirant_webhooks.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {
        "ago": formatting.ago,
        "bytes": lambda text: len(text.encode()),
        "conditions": lambda filter_: [conditions.words(condition) for condition in filter_],
        "curl": formatting.curl,
        "day_and_time": formatting.day_and_time,
        "host": formatting.host,
        "kept": _kept,
        "number": formatting.number,
        "pretty": formatting.pretty,
        "size": formatting.size,
        "took": formatting.took,
    }
    templates.globals["asset"] = asset
    return templates


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a page."""
    return environment().get_template(template).render(values)
