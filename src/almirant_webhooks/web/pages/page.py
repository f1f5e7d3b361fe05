"""A page as an answer: who looks at it, what was just done, and errors in a sentence."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from multidict import MultiDictProxy

from ... import clock
from ...actions import reach
from ...model import Webhook
from ...rules.principals import Role
from ...rules.values import cursor, is_text, row_cursor
from ..address import base, prefix_links
from ..bodies import check_not_compressed
from ..context import PRINCIPAL, context, principal
from ..guard import allow
from ..limits import in_time
from ..values import check_names
from .render import render

people = allow(Role.OPERATOR, Role.PROJECT_ADMIN)

_DONE = {
    "saved": "Saved. The next attempt uses it.",
    "enabled": "Enabled.",
    "enabled-held": "Enabled; what was held goes out now.",
    "enabled-discarded": "Enabled; what was held was discarded.",
    "disabled": "Disabled. Its deliveries are held until it is enabled.",
    "deleted": "Deleted, with its delivery history.",
    "tested": "The test event is on its way.",
    "resent": "The resend is on its way.",
    "waits": "A resend waits already; nothing more was asked for.",
    "resend-started": "They are sent again, after whatever is due.",
    "resend-cancelled": "Nothing more of it is sent; what is in flight ends.",
    "replay-started": "They are sent, oldest first, after whatever is due.",
    "sent-to": "It is on its way.",
    "rotated": "A new secret was made.",
    "kept": "The webhook keeps its secret.",
}
_TITLES = {
    403: "Not for you",
    404: "Not here",
    405: "Not that way",
    408: "Too slow",
    409: "That cannot be done",
    413: "Too large",
    421: "Unknown address",
    422: "That does not fit",
    429: "Too many tries",
    503: "Not at the moment",
}


_MANY = frozenset(
    {"id", "events", "header_name", "header_value", "filter_field", "filter_op", "filter_value"}
)  # fields that a form has once for each thing that is chosen


async def read_form(request: web.Request) -> MultiDictProxy[str | bytes | bytearray | web.FileField]:
    """Return the fields of a form; 400 for what no browser sends."""
    await context(request).end_reading()
    check_not_compressed(request)
    try:
        form = await in_time(request.post())
    except (ValueError, LookupError):
        raise web.HTTPBadRequest(text="This form cannot be read.") from None
    for name, value in form.items():  # halves of surrogate pairs come by charsets of Python's own
        if not isinstance(value, str) or not is_text(value) or (len(form.getall(name)) > 1 and name not in _MANY):
            raise web.HTTPBadRequest(text="This form cannot be read.")
    return form


def list_cursor(request: web.Request, form: str) -> str | None:
    """Return where a list goes on, None for its beginning; raises `Refused` for what its own links do not lead to."""
    text = request.query.get("before", "")
    return cursor(text, "before", form) if text else None


def list_row(request: web.Request) -> int | None:
    """Return the row before which a list goes on, as `list_cursor` does."""
    text = request.query.get("before", "")
    return row_cursor(text, "before") if text else None


def check_params(request: web.Request, *known: str) -> None:
    """Raise `Refused` for a parameter that a list does not have, but for those that every page has."""
    check_names(request.query, (*known, "before", "done"))


def show(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Answer with a page; every template knows who looks, the time, and what was just done."""
    caller = request.get(PRINCIPAL)
    ends_at = caller.expires_at if caller is not None else None
    common = {
        "session": caller,
        "ends_at": clock.text(datetime.fromtimestamp(ends_at, UTC)) if ends_at else None,
        "now": clock.now(),
        "section": "",
        "notice": _DONE.get(request.query.get("done", ""), ""),
    }
    text = render(template, {**common, **values})
    return web.Response(
        text=prefix_links(base(request), text), status=status, content_type="text/html", charset="utf-8"
    )


def redirect(path: str, **query: str) -> web.HTTPSeeOther:
    """Return the answer to a form: go and look at that page."""
    return web.HTTPSeeOther(f"{path}{'&' if '?' in path else '?'}{urlencode(query)}" if query else path)


def local_path(path: object, otherwise: str) -> str:
    """Return a path of this site that a form or link gave, or the other one: nobody is sent elsewhere."""
    text = str(path)
    inside = text.startswith("/") and not text.startswith(("//", "/\\")) and all(" " < char < "\x7f" for char in text)
    return text if inside else otherwise


async def webhook_of(request: web.Request) -> Webhook:
    """Return the webhook that the path names; one of another project is not there."""
    return await reach.webhook(context(request), principal(request), request.match_info["id"])


async def error(request: web.Request, status: int, sentence: str) -> web.StreamResponse:
    """Show what went wrong in a sentence."""
    return show(
        request,
        "sentence.html",
        status=status,
        code=status,
        title=_TITLES.get(status, "Something went wrong" if status >= 500 else "That did not work"),
        sentence=sentence,
    )
