"""What the tests of several faces share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from ..support.engines import service_on
from ..support.service import Service
from .test_refusals import Doors


@pytest.fixture
async def doors(service: Service) -> AsyncIterator[Doors]:
    """A daemon that serves its API and its pages, and commands beside it."""
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Doors(service, client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_doors(tmp_path_factory: pytest.TempPathFactory, engine_name: str) -> AsyncIterator[Doors]:
    """One daemon with its doors for the tests of a module that change nothing there; they run in the module's loop."""
    with service_on(engine_name, tmp_path_factory.mktemp("doors")) as service:
        try:
            address = await service.serve()
            async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
                yield Doors(service, client)
        finally:
            await service.close()
