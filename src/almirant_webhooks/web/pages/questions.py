"""The page that asks before something is done that cannot be undone: what becomes of it, and a button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from ...rules.texts import Text
from .page import show


def ask(
    request: web.Request,
    action: str,
    title: str,
    lines: Sequence[Text],
    answers: Sequence[tuple[str, str, str, str]],
    *,
    back: str,
    **more: Any,
) -> web.Response:
    """Ask; `action` is where an answer is sent. Each of them is a name and a value, the button's text, and its kind."""
    values = {"webhook": None, "own_secret": False, "typed": "", "problem": "", "leads_back": False, **more}
    return show(request, "question.html", action=action, title=title, lines=lines, answers=answers, back=back, **values)
