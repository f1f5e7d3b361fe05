"""A daemon whose event loop stands still for BLOCK_SECONDS at each SIGUSR1, as by a fault of ours; run as a script."""

from __future__ import annotations

import os
import signal
import time

from almirant_webhooks import cli


def stand_still(*_: object) -> None:
    time.sleep(float(os.environ["BLOCK_SECONDS"]))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, stand_still)
    cli.main()
