"""A daemon that a certain event kills, run as a script: the process ends while that request is in flight."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from almirant_webhooks import cli, daemon
from almirant_webhooks.model import Result
from almirant_webhooks.sending.sender import Prepared, Sender


class FragileSender(Sender):
    def begin(self, prepared: Prepared, ended: Callable[[Result], None]) -> asyncio.Future[Any]:
        if b'"deadly"' in prepared.claim.body:
            os.abort()
        return super().begin(prepared, ended)


if __name__ == "__main__":
    daemon.Sender = FragileSender  # type: ignore[attr-defined]
    cli.main()
