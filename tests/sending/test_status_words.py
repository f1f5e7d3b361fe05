"""What the log says of a status that is no success."""

from __future__ import annotations

import pytest

from ..support.hostile import answering, server
from .test_sender import claim, sender


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_told_as_one_that_is_not_followed(status: int) -> None:
    """These five, and with or without a place to go to."""
    head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    async with server(answering(head)) as port, sender(timeout=10) as sending:
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert (result.outcome.value, result.cause) == ("http_error", "redirects are not followed")


@pytest.mark.parametrize("status", [300, 304, 305, 306, 310, 399, 400, 503])
async def test_another_status_is_told_as_what_it_is(status: int) -> None:
    """304 too, which no POST asks for: nothing leads anywhere else."""
    head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    async with server(answering(head)) as port, sender(timeout=10) as sending:
        result = await sending.send(claim(f"http://127.0.0.1:{port}/in"))
    assert (result.outcome.value, result.cause) == ("http_error", f"the receiver answered {status}")
