"""A daemon that a certain event kills, run as a script: the process ends while that request is in flight."""

from __future__ import annotations

import os

from almirant_webhooks import cli, daemon
from almirant_webhooks.model import Claim, Result
from almirant_webhooks.sending.sender import Go, Sender, at_once


class FragileSender(Sender):
    async def send(self, claim: Claim, go: Go = at_once) -> Result:
        await go()
        if b'"deadly"' in claim.body:
            os.abort()
        return await super().send(claim)


if __name__ == "__main__":
    daemon.Sender = FragileSender  # type: ignore[attr-defined]
    cli.main()
