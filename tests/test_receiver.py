"""The receiver of `listen` and `demo`, over real requests."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest

from almirant_webhooks import clock
from almirant_webhooks.model import Refused
from almirant_webhooks.receiver import MAX_BODY, Arrival, Receiver
from almirant_webhooks.rules import signing

from .support.service import SECRET
from .support.signed import request_headers

BODY = '{"a": "é 漢 😀 \U0010ffff"}'.encode()


@asynccontextmanager
async def _running(
    receiver: Receiver,
) -> AsyncIterator[Callable[..., AbstractAsyncContextManager[aiohttp.ClientResponse]]]:
    """Run a receiver; the value posts a body to it as the daemon would."""
    await receiver.start()
    try:
        async with aiohttp.ClientSession() as session:

            def post(
                delivery_id: str = "dlv_1", body: bytes = BODY, **changed: str
            ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
                headers = dict(
                    request_headers(
                        url=receiver.url,
                        secret=SECRET,
                        body=body,
                        delivery_id=delivery_id,
                        event_type="lead.created",
                        number=1,
                        started_at=clock.now(),
                        test=False,
                    )
                )
                headers.update({name.replace("_", "-"): value for name, value in changed.items()})
                return session.post(receiver.url, data=io.BytesIO(body), headers=headers)

            yield post
    finally:
        await receiver.stop()


async def test_a_signed_request_is_verified_in_both_ways() -> None:
    """Answered 200, counted, and shown with its bytes."""
    arrivals: list[Arrival] = []
    receiver = Receiver(secret=SECRET, on_arrival=arrivals.append)
    async with _running(receiver) as post, post() as response:
        assert response.status == 200
    (arrival,) = arrivals
    assert (arrival.status, arrival.almirant, arrival.standard, arrival.body) == (200, True, True, BODY)
    assert arrival.headers["X-Almirant-Delivery"] == "dlv_1"
    assert (receiver.verified, receiver.refused) == (1, 0)


@pytest.mark.parametrize("signature", ["", "0" * 64, "é", "sha256=" + signing.signature(BODY, SECRET)])
async def test_a_wrong_or_missing_signature_is_answered_401(signature: str) -> None:
    """It is counted as refused and shown."""
    arrivals: list[Arrival] = []
    receiver = Receiver(secret=SECRET, on_arrival=arrivals.append)
    async with _running(receiver) as post, post(X_Almirant_Signature=signature) as response:
        assert response.status == 401
    assert [(arrival.status, arrival.almirant, arrival.standard) for arrival in arrivals] == [(401, False, True)]
    assert (receiver.verified, receiver.refused) == (0, 1)


async def test_a_signature_of_bytes_that_are_not_utf_8_is_answered_401() -> None:
    """As any other wrong one, not with a fault of the receiver's own."""
    receiver = Receiver(secret=SECRET)
    async with _running(receiver):
        reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n"
        writer.write(head + b"X-Almirant-Signature: \xff\xfe\r\n\r\n{}")
        assert (await reader.readline()).split()[1] == b"401"
        writer.close()
        await writer.wait_closed()
    assert receiver.refused == 1


async def test_a_body_changed_on_its_way_is_refused_in_both_ways() -> None:
    """The same headers with another body."""
    arrivals: list[Arrival] = []
    receiver = Receiver(secret=SECRET, on_arrival=arrivals.append)
    other = {"X_Almirant_Signature": signing.signature(b"{}", SECRET)}
    other["webhook_signature"] = signing.standard_signature(b"{}", SECRET, "dlv_1", 1)
    async with _running(receiver) as post, post(**other) as response:
        assert response.status == 401
    assert (arrivals[0].almirant, arrivals[0].standard) == (False, False)


async def test_the_first_requests_of_each_delivery_fail_as_told() -> None:
    """Counted for each delivery by itself."""
    statuses = []
    async with _running(Receiver(secret=SECRET, fail_first=2)) as post:
        for delivery_id in ("dlv_1", "dlv_2", "dlv_1", "dlv_1", "dlv_2", "dlv_2"):
            async with post(delivery_id) as response:
                statuses.append(response.status)
    assert statuses == [500, 500, 500, 200, 500, 200]


async def test_without_a_secret_nothing_is_checked() -> None:
    """And nothing is counted as verified."""
    arrivals: list[Arrival] = []
    receiver = Receiver(on_arrival=arrivals.append)
    async with _running(receiver) as post, post(X_Almirant_Signature="0" * 64) as response:
        assert response.status == 200
    assert [(arrival.almirant, arrival.standard) for arrival in arrivals] == [(None, None)]
    assert (receiver.verified, receiver.refused) == (0, 0)


async def test_the_largest_event_arrives_and_an_endless_body_does_not() -> None:
    """A body above the receiver's own limit is answered 413."""
    async with _running(Receiver(secret=SECRET)) as post:
        async with post(body=b"x" * 262_500) as response:
            assert response.status == 200
        async with post(body=b"x" * (MAX_BODY + 1)) as response:
            assert response.status == 413


async def test_a_port_in_use_is_a_sentence() -> None:
    """It names the port and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=rf"Port {port} .*--port"):
            await Receiver(port=port).start()
