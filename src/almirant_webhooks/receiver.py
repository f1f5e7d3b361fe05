"""A local receiver that verifies what arrives: the other side of the wire, for `listen` and `demo`."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from .model import Refused
from .verify import verify_standard

MAX_BODY = 2**20


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that arrived, and whether its two signatures are right (None: no secret to check them with)."""

    headers: dict[str, str]
    body: bytes
    status: int
    almirant: bool | None
    standard: bool | None


@dataclass
class Receiver:
    """An HTTP server on loopback. It answers 401 to a wrong signature, 500 to a delivery's first `fail_first` requests."""

    secret: str | None = None
    port: int = 0
    fail_first: int = 0
    on_arrival: Callable[[Arrival], None] = lambda arrival: None
    url: str = ""
    verified: int = 0
    refused: int = 0
    _seen: Counter[str] = field(default_factory=Counter)

    async def start(self) -> None:
        """Listen; raises `Refused` when the port is in use."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise Refused(
                f"Port {self.port} cannot be opened ({error.strerror}); choose another with --port."
            ) from None
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/webhooks/almirant"

    async def stop(self) -> None:
        """Close the server."""
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        almirant = standard = None
        if self.secret is not None:
            almirant = self._verify_as_the_page_does(body, request.headers.get("X-Almirant-Signature", ""), self.secret)
            standard = verify_standard(body, request.headers, self.secret)
        delivery = request.headers.get("X-Almirant-Delivery", "")
        self._seen[delivery] += 1
        if almirant is False:
            self.refused += 1
            status, answer = 401, {"error": "Invalid signature"}
        elif self._seen[delivery] <= self.fail_first:
            status, answer = 500, {"error": "Not yet"}
        else:
            status, answer = 200, {"received": "yes"}
        self.verified += bool(almirant and standard)
        self.on_arrival(Arrival(dict(request.headers), body, status, almirant, standard))
        return web.json_response(answer, status=status)

    @staticmethod
    def _verify_as_the_page_does(body: bytes, signature: str, secret: str) -> bool:
        """Verify with the steps of the customer's page, not with the code that signed."""
        expected = hmac.new(secret.encode("utf-8"), body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(signature.encode("utf-8", "surrogateescape"), expected.encode())
