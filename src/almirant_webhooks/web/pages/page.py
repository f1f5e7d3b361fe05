"""A page as an answer: who looks at it, what was just done, and errors in a sentence."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from aiohttp import hdrs, web
from multidict import MultiDict, MultiDictProxy

from ... import clock
from ...actions import reach
from ...model import Conflict, Webhook
from ...rules.languages import LANGUAGES
from ...rules.principals import Principal, Role
from ...rules.stored_texts import recognised
from ...rules.texts import Text
from ...rules.values import cursor, is_text, row_cursor
from ..address import base, prefix_links
from ..bodies import check_not_compressed
from ..context import PRINCIPAL, context, principal
from ..guard import allow
from ..limits import in_time
from ..values import check_names
from . import choosing, live
from .form_keys import NOT_FIELDS, TYPED_FOR, UNSCRIPTED, give_key
from .looking import without_changes
from .render import render

people = allow(Role.OPERATOR, Role.PROJECT_ADMIN)
changing = allow(Role.OPERATOR, Role.PROJECT_ADMIN, changes=True)  # a GET that leads to a change alone

FRONT = "/webhooks"
_AFTER_A_CHANGE = frozenset({"done", "n", "left"})  # by which a page says what was just done
IS_UNSCRIPTED = web.RequestKey("is_unscripted", bool)
_DONE = {
    "saved": Text("Saved. The next attempt uses it."),
    "enabled": Text("Enabled."),
    "enabled-held": Text("Enabled; what was held goes out now."),
    "enabled-discarded": Text("Enabled; what was held was discarded."),
    "disabled": Text("Disabled. Its deliveries are held until it is enabled."),
    "deleted": Text("Deleted, with its delivery history."),
    "tested": Text("The test event is on its way."),
    "resent": Text("The resend is on its way."),
    "waits": Text("A resend waits already; nothing more was asked for."),
    "resent-some": Text("{n} sent again; {left} left out, as their webhook is disabled or their content was erased."),
    "resent-none": Text(
        "None of the {left} can be sent again: their webhook is disabled, or their content was erased."
    ),
    "resend-started": Text("They are sent again, after whatever is due."),
    "resend-cancelled": Text("Nothing more of it is sent; what is in flight ends."),
    "resend-over": Text("It has ended already: nothing of it is left to cancel."),
    "replay-started": Text("They are sent, oldest first, after whatever is due."),
    "sent-to": Text("It is on its way."),
    "rotated": Text("A new secret was made."),
    "ended": Text("Ended. Its browser has to sign in again."),
    "revoked": Text("Revoked. It opens nothing any more."),
    "kept": Text("The webhook keeps its secret."),
    "revealed": Text("The secret was shown here once, and is hidden again. “Reveal” shows it once more."),
}
_TITLES = {
    403: Text("Not for you"),
    404: Text("Not here"),
    405: Text("Not that way"),
    408: Text("Too slow"),
    409: Text("That cannot be done"),
    413: Text("Too large"),
    421: Text("Unknown address"),
    422: Text("That does not fit"),
    429: Text("Too many tries"),
    503: Text("Not at the moment"),
}
# In place of the web server's own words, which are English.
_ITS_OWN = {
    404: Text("There is nothing at this address."),
    405: Text("Nothing can be sent to this address in that way."),
    413: Text("That is more than the service takes at once."),
}


# Where a form is that is sent to a path without such a page, and the page of what the path of another form is about.
_FORMS = {
    "/webhooks": "/webhooks/new",
    "/webhooks/preview": "/webhooks/new",
    "/resends": "/resends/new",
    "/deliveries/resend": "/deliveries",
}
_ABOUT = re.compile(
    r"/webhooks/[^/]+/(?:edit|enable|delete|rotate-secret|replay)$|/(?:webhooks|deliveries|resends|events)/[^/]+"
    r"|/(?:tokens|sessions|sign-in)"
)

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
        raise web.HTTPBadRequest(text=Text("This form cannot be read.")) from None
    for name, value in form.items():  # halves of surrogate pairs come by charsets of Python's own
        if not isinstance(value, str) or not is_text(value) or (len(form.getall(name)) > 1 and name not in _MANY):
            raise web.HTTPBadRequest(text=Text("This form cannot be read."))
    request[IS_UNSCRIPTED] = UNSCRIPTED in form
    if TYPED_FOR in form:
        _check_typed_for(str(form[TYPED_FOR]), request.get(PRINCIPAL))
    return MultiDictProxy(MultiDict((name, value) for name, value in form.items() if name not in NOT_FIELDS))


def _check_typed_for(project: str, caller: Principal | None) -> None:
    """Raise `Conflict` for what was typed in a session of another project, and is sent again in this one."""
    if caller is not None and project != (caller.project_id or ""):
        whose, other = (_whom(one) for one in (project, caller.project_id))
        raise Conflict(
            Text(
                "This was typed for {whose}, and you are signed in for {other} now. Nothing was changed.",
                whose=whose,
                other=other,
            )
        )


def _whom(project: str | None) -> Text:
    return Text("the project {project}", project=project) if project else Text("the operator")


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
    check_names([name for name in request.query if name not in _AFTER_A_CHANGE], (*known, "before"))


def show(
    request: web.Request, template: str, *, status: int = 200, place: str | None = None, **values: Any
) -> web.Response:
    """Answer with a page; every template knows who looks, the time, and what was just done.

    The answer to a form gets the form's own address in the browser, or the `place` that is given; an empty one leaves it.
    """
    caller, language = request.get(PRINCIPAL), choosing.of(request)
    ends_at = clock.text(caller.expires_at) if caller is not None and caller.expires_at else None
    here = _here(request)
    if place is None:
        place = here if request.method == hdrs.METH_POST and status in (200, 412, 422) else ""
    common = {
        "session": caller,
        "ends_at": ends_at,
        "now": clock.now(),
        "section": "",
        "base": base(request),
        "look": context(request).settings.pages,
        "language": language,
        "languages": LANGUAGES,
        "here_now": here,
        "place": base(request) + place if place else "",
        "notice": _notice(request),
    }
    text = render(language, template, {**common, **values})
    if caller is not None:
        text = without_changes(text) if caller.read_only else give_key(text)
    response = live.answer(request, prefix_links(base(request), text), language.code)
    if status != 200:
        response.set_status(status)
    return response


def _here(request: web.Request) -> str:
    """Return where the page is found again: the answer to a form is at no address, but the form is, or what it was about."""
    if request.method == hdrs.METH_GET:
        return request.path_qs
    if request.path in _FORMS:
        return _FORMS[request.path]
    about = _ABOUT.match(request.path.replace("/preview", "/edit"))  # the form of the settings shows it
    return about[0] if about else FRONT


def _notice(request: web.Request) -> str:
    """Return what was just done, with its numbers."""
    query, said = request.query, _DONE.get(request.query.get("done", ""), "")
    if "{" not in said:
        return said
    numbers = {name: text for name in ("n", "left") if (text := query.get(name, "0")).isdecimal()}
    return Text(said, **numbers) if len(numbers) == 2 else ""


def redirect(path: str, *, fragment: str = "", **query: str) -> web.HTTPSeeOther:
    """Return the answer to a form: go and look at that page, at the part whose id is `fragment`."""
    place = f"{path}{'&' if '?' in path else '?'}{urlencode(query)}" if query else path
    return web.HTTPSeeOther(f"{place}#{fragment}" if fragment else place)


def is_looked_at(request: web.Request) -> bool:
    """Tell whether somebody opens the page: other tabs look again and again, and HEAD shows nothing."""
    return request.method == hdrs.METH_GET and "X-Live" not in request.headers


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
        title=_TITLES.get(status, Text("Something went wrong") if status >= 500 else Text("That did not work")),
        sentence=sentence if isinstance(sentence, Text) else _of_the_server(status, sentence) or recognised(sentence),
    )


def _of_the_server(status: int, sentence: str) -> Text | None:
    return _ITS_OWN.get(status) if sentence.startswith((f"{status}: ", "Maximum request body size")) else None
