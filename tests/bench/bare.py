"""What is measured beside the daemon: a bare aiohttp and uvloop loop that POSTs and keeps nothing."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import time

import aiohttp
import uvloop

from almirant_webhooks import clock
from almirant_webhooks.rules import signing

BODY = b'{"id": "evt_1", "data": "' + b"x" * 1100 + b'"}'


async def post(url: str, count: int, in_flight: int, ca_file: str) -> tuple[float, float]:
    """POST `count` requests of about 1 KB with so many in flight; return requests per second and µs of CPU for each."""
    headers = dict(
        signing.headers_of(
            signing.sign(
                url=url,
                secret="s" * 20,
                body=BODY,
                delivery_id="dlv_1",
                event_type="lead.created",
                number=1,
                started_at=clock.now(),
                test=False,
            ).head
        )
    )
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    left = iter(range(count))

    async def one_after_the_other(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post(url, data=BODY, headers=headers) as response:
                await response.read()
                assert response.status == 200

    connector = aiohttp.TCPConnector(limit=0, ssl=tls or True)
    async with aiohttp.ClientSession(connector=connector) as session:
        begin, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one_after_the_other(session) for _ in range(in_flight)))
        return count / (time.perf_counter() - begin), (time.process_time() - cpu) / count * 1e6


def main() -> None:
    """Print both numbers."""
    options = argparse.ArgumentParser()
    options.add_argument("url")
    options.add_argument("count", type=int)
    options.add_argument("in_flight", type=int)
    options.add_argument("--ca-file", default="")
    arguments = options.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(*runner.run(post(arguments.url, arguments.count, arguments.in_flight, arguments.ca_file)))


if __name__ == "__main__":
    main()
