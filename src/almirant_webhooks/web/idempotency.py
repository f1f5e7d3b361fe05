"""The middleware that finds the key of a request, in `Idempotency-Key` or in a form, and has it carried out once (`request_keys`)."""

from __future__ import annotations

import re
from contextlib import suppress

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from ..model import Conflict, NotFound, Refused
from ..storage.engine import StorageError
from .bodies import read_json
from .context import PRINCIPAL, context
from .guard import OPEN, Handler, allowed_by
from .pages.form_keys import NOT_FIELDS, ONCE
from .pages.page import read_form
from .request_keys import LOST, Keyed, Turns, digest_of

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[!-~]{1,255}")
_FORM_KEY = re.compile(r"[\w-]{22}", re.ASCII)


def carry_out_once() -> Middleware:
    """Make the middleware: a request of which the key was there before gets the answer that the first one had."""
    turns = Turns()

    @web.middleware
    async def once(request: web.Request, handler: Handler) -> web.StreamResponse:
        keyed = await _keyed(request)
        if keyed is None:
            return await handler(request)
        owner, key, request_digest = keyed
        ctx = context(request)
        await ctx.end_reading()
        async with turns.of(owner, key):
            keeps_results = not request.path.endswith("/erase")  # whose steps find by themselves what is left to do
            ctx.keyed = Keyed(ctx, owner, key, request_digest, keeps_results=keeps_results)
            if (answer := await ctx.keyed.look()) is not None:
                return answer
            return await _carry_out(request, handler, ctx.keyed)

    return once


async def _carry_out(request: web.Request, handler: Handler, keyed: Keyed) -> web.StreamResponse:
    answer: web.StreamResponse
    try:
        answer = await handler(request)
    except web.HTTPRedirection as redirect:
        await _keep(request, keyed, redirect)
        raise
    except (NotFound, Conflict):
        # What is not there any more, or is so already, may be so by this very request.
        if keyed.was_begun and not keyed.has_written:
            raise Refused(LOST) from None
        raise
    if answer.status < 400:
        await _keep(request, keyed, answer)
    return answer


async def _keep(request: web.Request, keyed: Keyed, answer: web.StreamResponse) -> None:
    """Keep an answer. Where that fails the next request makes it again, from what was noted with the change.

    So does that of a preview, which changes nothing: it shows what an event has, and would outlive an erasing of that.
    """
    is_preview = request.path.endswith("/preview")
    if not is_preview and (keyed.has_written or request.path.startswith("/api/")):
        with suppress(StorageError, Refused):
            await keyed.keep(answer)


async def _keyed(request: web.Request) -> tuple[str, str, str] | None:
    """Return whose key a request has, the key, and the digest of what it asks for; None for one without a key."""
    caller = request.get(PRINCIPAL)
    if request.method != hdrs.METH_POST or caller is None:
        return None
    if allowed_by(request.match_info.handler) == OPEN:
        return None  # it begins or ends a session: an answer that is kept has no cookie
    if request.path.startswith("/api/"):
        key = request.headers.get(HEADER)
        if key is None:
            return None
        if not _KEY.fullmatch(key):
            raise Refused(f"{HEADER} is 1 to 255 visible ASCII characters.", HEADER)
        await context(request).end_reading()
        return caller.id, key, digest_of(request.path_qs, await read_json(request))
    await read_form(request)  # refuses what no browser sends
    form = await request.post()
    key = str(form.get(ONCE, ""))
    if not _FORM_KEY.fullmatch(key):
        return None
    fields = [text for name, value in form.items() if name not in NOT_FIELDS for text in (name, str(value))]
    request_digest = digest_of(request.path_qs, *fields)
    # A form that was changed after it was sent, by who went back to it, is another request.
    return caller.id, f"{key} {request_digest}", request_digest
