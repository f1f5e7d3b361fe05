"""What the tests of several faces share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from ..support.service import Service
from .test_refusals import Doors


@pytest.fixture
async def doors(service: Service) -> AsyncIterator[Doors]:
    """A daemon that serves its API and its pages, and commands beside it."""
    address = await service.serve()
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:
        yield Doors(service, client)
