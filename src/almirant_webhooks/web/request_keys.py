"""A request with a key, which does a thing once however often it comes: what it did before, and the answer that it had."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiohttp import hdrs, web
from pydantic import TypeAdapter

from .. import clock
from ..actions import request_keys
from ..actions.tokens import Link
from ..model import NewWebhook, Refused, Secrets, Webhook
from ..rules.principals import digest
from ..rules.texts import Text
from ..storage.engine import KEYS_KEPT, KeyedRow, Session
from .context import Context

T = TypeVar("T")

ANSWER = 0  # the number of the row with the answer
HEADERS = (hdrs.LOCATION, hdrs.ETAG, hdrs.CONTENT_TYPE, hdrs.CONTENT_LANGUAGE)  # of an answer, which are kept
MAX_ANSWER = 256 * 1024  # characters; a larger one is made again, from what was done
_OTHER = Text("This key came with another request before: give each request a key of its own.")
LOST = Text("This request was carried out already, and its answer cannot be shown again. Look at what it has changed.")
# What transactions return beside JSON's own values.
_KINDS: dict[str, TypeAdapter[Any]] = {
    kind.__name__: TypeAdapter(kind) for kind in (NewWebhook, Webhook, Secrets, Link)
}


class Keyed:
    """One request with a key: what it has done before, and the notes of what it does now.

    `run` is called in the transaction of each change; a note is written there, or nothing is.
    """

    def __init__(self, ctx: Context, owner: str, key: str, request_digest: str, *, keeps_results: bool) -> None:
        self._ctx = ctx
        self._owner = owner
        self._key_digest = digest(key)
        self._request_digest = request_digest
        self._keeps_results = keeps_results
        self._done: dict[int, KeyedRow] = {}
        self._next = ANSWER
        self.has_written = False

    async def look(self) -> web.Response | None:
        """Return the answer that this request had before, None if it had none. Raises `Refused` for another request's key."""
        since = clock.now() - KEYS_KEPT
        rows = await self._ctx.read(self._ctx.reading.request_keys.find, self._owner, self._key_digest, since)
        if any(row.request_digest != self._request_digest for row in rows):
            raise Refused(_OTHER, "Idempotency-Key")
        self._done = {row.number: row for row in rows}
        if ANSWER not in self._done:
            return None
        status, headers, text = json.loads(_opened(self._done[ANSWER]))
        if not text:
            headers.pop(hdrs.CONTENT_TYPE, None)
        return web.Response(status=status, headers=headers, body=text.encode() if text else None)

    @property
    def key_digest(self) -> str:
        """What tells it from the other requests of its caller."""
        return self._key_digest

    @property
    def was_begun(self) -> bool:
        """Whether something was done before of what has no answer yet."""
        return bool(self._done)

    def run(self, session: Session, function: Callable[[Session], T]) -> T:
        """Call a function in its transaction and note what it returns; one that was called before returns the same."""
        self.has_written = True
        if not self._keeps_results:
            return function(session)
        self._next += 1
        if (done := self._done.get(self._next)) is not None:
            before: T = _decode(_opened(done))
            return before
        value = function(session)
        row = KeyedRow(self._next, self._request_digest, _encode(value))
        request_keys.note(self._ctx, session, self._owner, self._key_digest, row, now=clock.now())
        return value

    async def keep(self, answer: web.StreamResponse, *, most: int = MAX_ANSWER, newest: int | None = None) -> bool:
        """Keep the answer for whoever asks again, if it has `most` characters at most; return whether it is kept.

        With `newest`, older ones of the same owner than so many are forgotten.
        """
        text = answer.text if isinstance(answer, web.Response) and answer.body is not None else ""
        if text is None or len(text) > most:
            return False
        headers = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        content = json.dumps([answer.status, headers, text])
        row = KeyedRow(ANSWER, self._request_digest, content)
        await request_keys.keep(self._ctx.aside(), self._owner, self._key_digest, row, now=clock.now(), newest=newest)
        return True


class Turns:
    """One request of a key at a time: the other waits for its answer."""

    def __init__(self) -> None:
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: defaultdict[tuple[str, str], int] = defaultdict(int)

    @asynccontextmanager
    async def of(self, owner: str, key: str) -> AsyncIterator[None]:
        """Wait until no other request of this key is under way."""
        place = owner, key
        self._waiting[place] += 1
        try:
            async with self._locks[place]:
                yield
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place], self._locks[place]


async def take(ctx: Context, owner: str, key_digest: str) -> list[Any]:
    """Return what a request has made, step by step: once, as it is kept no longer. Its answer stays."""
    since = clock.now() - KEYS_KEPT
    if all(row.number == ANSWER for row in await ctx.read(ctx.reading.request_keys.find, owner, key_digest, since)):
        return []
    rows = await request_keys.take(ctx, owner, key_digest, since=since)
    return [_decode(row.content) for row in rows if row.content is not None]


def digest_of(*parts: str | bytes) -> str:
    """Return the SHA-256 of what a request asks for, part by part."""
    whole = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "replace") if isinstance(part, str) else part
        whole.update(len(raw).to_bytes(8, "big") + raw)
    return whole.hexdigest()


def _encode(value: object) -> str:
    kind = type(value).__name__
    if kind in _KINDS:
        return json.dumps([kind, _KINDS[kind].dump_python(value, mode="json")])
    return json.dumps(["", value])


def _decode(content: str) -> Any:
    kind, value = json.loads(content)
    return _KINDS[kind].validate_python(value) if kind else value


def _opened(row: KeyedRow) -> str:
    if row.content is None:
        raise Refused(LOST)
    return row.content
