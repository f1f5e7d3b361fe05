"""A page that is looked at again and again: an answer without a body while it shows the same."""

from __future__ import annotations

import hashlib
import re

from aiohttp import hdrs, web

_MAIN = re.compile(r"<main\b.*</main>", re.DOTALL)
# How long ago something was is counted on by the page itself; keys of forms are new each time. Each begins with a text of its
# own, which is found faster than either of two.
_AGO = re.compile(r'<time data-ago datetime="([^"]*)">[^<]*')
_HIDDEN = re.compile(r'<input type="hidden"[^>]*>')


def answer(request: web.Request, html: str, language: str) -> web.Response:
    """Return a page with the mark of what it shows, and in which language; 304 to a look (`X-Live`) that has it already.

    Only a page with a `data-live` in it has a mark. One that was made by a form has none: it is not looked at again.
    """
    headers = {hdrs.CONTENT_LANGUAGE: language, hdrs.VARY: "Accept-Language, Cookie"}
    response = web.Response(content_type="text/html", charset="utf-8", headers=headers)
    if request.method == hdrs.METH_GET and " data-live" in html and (main := _MAIN.search(html)):
        shown = _HIDDEN.sub("", _AGO.sub(r"\1", main[0]))
        mark = hashlib.sha256(f"{language} {shown}".encode()).hexdigest()[:16]
        response.headers[hdrs.ETAG] = f'"{mark}"'
        if "X-Live" in request.headers and request.headers.get(hdrs.IF_NONE_MATCH) == f'"{mark}"':
            return web.Response(status=304, headers={**headers, hdrs.ETAG: f'"{mark}"'})
        html = html.replace('<main id="main"', f'<main id="main" data-mark="{mark}"', 1)
    response.text = html
    return response
