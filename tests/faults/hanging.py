"""A daemon one of whose calls to the database never returns, as of a disk that does not answer; run as a script."""

from __future__ import annotations

import sqlite3
import threading

import structlog

from almirant_webhooks import cli
from almirant_webhooks.storage.sql import health


def hang(_: sqlite3.Connection) -> set[str]:
    structlog.get_logger().info("hanging")
    threading.Event().wait()
    raise AssertionError


if __name__ == "__main__":
    health.own_webhooks = hang  # type: ignore[assignment]
    cli.main()
