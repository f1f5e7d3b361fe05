"""A daemon with a seeded bug in what it agrees upon with others, run as a script."""

from __future__ import annotations

import time
from collections.abc import Mapping

from almirant_webhooks import cli
from almirant_webhooks.storage.postgres.daemons import LEASE
from almirant_webhooks.storage.postgres.lease import Signs


def by_its_own_clock(self: Signs, signs: Mapping[str, str], now: float) -> dict[str, str]:
    """It compares others' signs, which are times, with its own clock."""
    return {daemon: sign for daemon, sign in signs.items() if float(sign) < time.time() - LEASE}


if __name__ == "__main__":
    Signs.look = by_its_own_clock  # type: ignore[method-assign]
    cli.main()
