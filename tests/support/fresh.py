"""A new database for each test, without the price of its migrations: a copy of one that was made once in this process."""

from __future__ import annotations

import functools
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from almirant_webhooks.ops import files
from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.storage.sqlite.migrate import migrate
from almirant_webhooks.storage.sqlite.outbox import renew_identity


def make_database(path: Path, outbox: Path | None = None) -> None:
    """Do what `migrate` does. A file that is not there yet becomes a copy of a migrated one, with an identity of its own."""
    if not os.path.lexists(path) and path.parent.is_dir():
        database, key = _migrated(apart=outbox is not None)
        with open(files.create(path, 0o640), "wb") as file:
            file.write(database)
        with open(files.create(beside(path).path, 0o600), "wb") as file:
            file.write(key)
        with closing(sqlite3.connect(path, isolation_level=None)) as conn:
            renew_identity(conn)
    migrate(path, outbox)


@functools.cache
def _migrated(*, apart: bool) -> tuple[bytes, bytes]:
    """The bytes of a database that was just made and that nobody has open, and of its key file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.db"
        migrate(path, Path(folder) / "outbox.db" if apart else None)
        assert sorted(os.listdir(folder)) == ["made.db", "made.db.seal", *(["outbox.db"] if apart else [])]
        return path.read_bytes(), beside(path).path.read_bytes()
