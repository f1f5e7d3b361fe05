"""One connection to a receiver, with one request at a time: bytes go out, an answer or a failure comes back.

`httptools` parses. After an answer that it accepts in its strict mode, the connection may be kept. An answer that it
refuses is read by `lenient`, and the connection is closed. Everything here runs on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, NoReturn, cast

import httptools

from ..model import Outcome
from . import causes, lenient
from .answers import Answer, Fields
from .causes import Failure
from .lenient import MAX_FIELD, MAX_FIELDS, MAX_HEAD, MAX_INTERIM, LenientReader, Unreadable

# Seconds between the time limit and the timeout. uvloop runs timers before it reads: after a pause of the process,
# answers that are already in the sockets would count as timeouts.
LAST_BYTES_WAIT = 0.01
_LENIENT = {
    "lenient_optional_lf_after_cr": True,
    "lenient_optional_cr_before_lf": True,
    "lenient_optional_crlf_after_chunk": True,
    "lenient_spaces_after_chunk_size": True,
}

End = Answer | Failure


class Connection(asyncio.Protocol):
    """An open connection to the receiver `key`. It reads bodies up to `most_body` bytes, and closes after a longer one."""

    def __init__(self, key: object, most_body: int, *, once: bool) -> None:
        self.key = key
        self.idle_since = 0.0
        self.was_used = False
        self._once = once
        self._most_body = most_body
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[End] | None = None  # of the request that is under way
        self._timer: asyncio.TimerHandle | None = None
        self._may_keep = False
        self._gone: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can carry a request."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def may_keep(self) -> bool:
        """Whether another request may follow: the answer was complete, and nothing is unread or unsent."""
        return self._may_keep and self.is_open and self._end is None

    def exchange(self, request: bytes, within: float) -> asyncio.Future[End]:
        """Send a request; return a future of its answer or failure, which is done within so many seconds.

        If only the head is complete by then, the answer has what came of the body.
        """
        self._end = end = self._loop.create_future()
        self._reused, self.was_used = self.was_used, True
        self._status: int | None = None  # of the final head, once it is complete
        self._fields: Fields = []
        self._body: list[bytes] = []
        self._body_size = 0
        self._seen: bytes | bytearray = b""  # all bytes up to the end of the final head
        self._wrapping = 0  # bytes after the final head, the body included
        self._head_size = 0
        self._interim = 0
        self._complete = False
        self._whole = False
        self._may_keep = not self._once
        self._refused = ""
        self._lenient: LenientReader | None = None
        if self._transport is None or self._transport.is_closing():
            self._finish(self._why_lost(None))
        else:
            self._timer = self._loop.call_later(within, self._wait_for_last_bytes)
            self._transport.write(request)
        return end

    def time_out(self) -> None:
        """End the request under way as a timeout, or with its answer if the head is complete."""
        if self._end is None:
            return
        if self._status is None:
            self._finish(Failure(Outcome.TIMEOUT, causes.NO_ANSWER))
        else:
            self._finish_answer()

    def close(self) -> None:
        """Close the connection at once, without sending what is left: a peer that does not read would block that forever."""
        self._may_keep = False
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def closed(self) -> None:
        """Wait until a connection that is being closed has freed its file descriptor."""
        if self._transport is not None:
            self._gone = self._loop.create_future()
            await self._gone
        await asyncio.sleep(0)  # the loop closes the file right after `connection_lost`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse bytes of the answer; bytes without a request close the connection."""
        if self._end is None or self._end.done():
            self.close()
            return
        if self._status is not None:
            self._wrapping += len(data)
            self._feed(data)
        elif self._lenient is not None:
            self._read_leniently(self._lenient, data)
        else:
            if not self._seen:
                self._seen = data
            else:
                self._seen = self._seen if isinstance(self._seen, bytearray) else bytearray(self._seen)
                self._seen += data
            self._feed(data)
        self._check_progress()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the request under way: with its answer if the head was complete, else with a failure."""
        self._transport = None
        if self._end is not None:
            if self._status is None:
                self._finish(self._why_lost(exc))
            else:
                self._whole = exc is None and lenient.framing(self._fields) == b""
                self._finish_answer()
        self._parser = None  # breaks a reference cycle
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def on_message_begin(self) -> None:
        """Note that something follows the answer."""
        if self._complete:
            self._may_keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header, within bounds; trailers are dropped."""
        if self._status is not None or self._lenient is not None:
            return
        size = len(name) + len(value)
        self._head_size += size + 4
        if self._head_size > MAX_HEAD or size > MAX_FIELD or len(self._fields) >= MAX_FIELDS:
            self._refuse_field(size)
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Store the status of a final head; drop an interim (1xx) one."""
        if self._status is not None:  # of a second answer
            return
        status = self._parser.get_status_code()
        if 100 <= status <= 199 and status != 101:
            self._interim += 1
            self._fields = []
            if self._interim > MAX_INTERIM:
                self._refuse(lenient.TOO_MANY_INTERIM)
            return
        if self._lenient is None and self._seen.lstrip(b"\r\n")[:5] != b"HTTP/":  # the parser reads RTSP, too
            self._refuse(causes.NOT_HTTP)
        self._status = status
        self._head_at = time.monotonic()
        self._may_keep = self._may_keep and status != 101 and self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Store a piece of the body, up to `most_body` bytes in all."""
        if self._complete:
            return
        self._body.append(data)
        self._body_size += len(data)
        self._complete = self._body_size > self._most_body

    def on_message_complete(self) -> None:
        """Note that the answer is whole, unless it was an interim one."""
        if self._status is not None and not self._complete:
            self._complete = self._whole = True

    def _refuse_field(self, size: int) -> NoReturn:
        if self._head_size > MAX_HEAD:
            self._refuse(lenient.HEAD_TOO_LARGE)
        self._refuse(lenient.FIELD_TOO_LARGE if size > MAX_FIELD else lenient.TOO_MANY_FIELDS)

    def _refuse(self, cause: str) -> NoReturn:
        self._refused = cause
        raise Unreadable  # out of the parser

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # the answer to a 101 is complete
            self._may_keep = False
        except httptools.HttpParserError:
            self._may_keep = False
            if self._status is not None:
                self._complete = True  # the status decides, and its body is cut here
            elif not self._refused and self._lenient is None:
                self._lenient = LenientReader()
                self._read_leniently(self._lenient, self._seen)

    def _read_leniently(self, reader: LenientReader, data: bytes | bytearray) -> None:
        try:
            head = reader.read(data)
        except Unreadable as error:
            self._refused = str(error)
            self._seen = reader.seen
            return
        if head is None:
            return
        self._fields = head.fields
        end = lenient.framing(head.fields)
        body = bytes(reader.seen[head.end :])
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(**_LENIENT)
        self._feed(b"HTTP/1.1 %03d \r\n%bConnection: close\r\n\r\n" % (head.status, end or b""))
        self._feed(body)
        if end is None:  # the end of the body is unknown: keep what came with the head
            self._complete = True

    def _check_progress(self) -> None:
        """Finish if the answer is complete, refused, or too large."""
        if self._refused:
            seen = lenient.first_bytes(self._seen) if self._refused in causes.NO_HTTP else b""
            self._finish(Failure(Outcome.CONNECTION_ERROR, self._refused, seen))
        elif self._complete:
            self._finish_answer()
        elif self._status is None:
            if len(self._seen) > MAX_HEAD:
                self._finish(Failure(Outcome.CONNECTION_ERROR, lenient.HEAD_TOO_LARGE))
        elif self._wrapping > 8 * self._body_size + MAX_HEAD:
            # Chunk sizes and trailers may be some times as long as the body, not more.
            self._finish_answer()

    def _why_lost(self, error: Exception | None) -> Failure:
        if self._seen:
            return Failure(Outcome.CONNECTION_ERROR, causes.CLOSED_WITHIN)
        if self._reused and causes.is_usual_end(error):
            return Failure(Outcome.INTERRUPTED, causes.STALE)
        return causes.classify_loss(error)

    def _wait_for_last_bytes(self) -> None:
        self._timer = self._loop.call_later(LAST_BYTES_WAIT, self.time_out)

    def _finish_answer(self) -> None:
        assert self._status is not None
        transport = self._transport
        # Unsent bytes of this request would be sent before the next one.
        self._may_keep = (
            self._may_keep and self._whole and transport is not None and not transport.get_write_buffer_size()
        )
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._finish(Answer(self._status, self._fields, body[: self._most_body], self._whole, self._head_at))

    def _finish(self, end: End) -> None:
        future, self._end = self._end, None
        self._seen, self._body = b"", []  # an idle connection holds nothing
        if self._timer is not None:
            self._timer.cancel()
        if future is not None and not future.done():
            future.set_result(end)
        if isinstance(end, Failure) or not self._may_keep:
            self.close()
