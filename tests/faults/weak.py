"""A daemon with a seeded bug, run as a script: its database is opened with `synchronous=NORMAL`."""

from __future__ import annotations

from pathlib import Path

from almirant_webhooks import cli
from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.storage.sqlite import service
from almirant_webhooks.storage.sqlite.connection import Connection
from almirant_webhooks.storage.sqlite.journal import open_for_service


def open_weakly(path: Path, seals: Seals | None = None) -> Connection:
    conn = open_for_service(path, seals)
    conn.execute("PRAGMA synchronous=NORMAL")
    return conn


if __name__ == "__main__":
    service.open_for_service = open_weakly  # type: ignore[attr-defined]
    cli.main()
