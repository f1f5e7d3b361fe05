"""A new database for each test, without the price of its migrations: a copy of one that was made once in this process."""

from __future__ import annotations

import functools
import os
import secrets
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from almirant_webhooks.ops import files
from almirant_webhooks.ops.sealing import beside
from almirant_webhooks.storage.sqlite.migrate import migrate
from almirant_webhooks.storage.sqlite.outbox import identity


def make_database(path: Path, outbox: Path | None = None) -> None:
    """Do what `migrate` does. A file that is not there yet becomes a copy of a migrated one, with an identity of its own."""
    if not os.path.lexists(path) and path.parent.is_dir():
        database, key, its_id = _migrated(apart=outbox is not None)
        own = b"db_" + secrets.token_hex(16).encode()
        with open(files.create(path, 0o640), "wb") as file:
            file.write(database.replace(its_id, own))
        with open(files.create(beside(path).path, 0o600), "wb") as file:
            file.write(key)
        if outbox is None:
            return
    migrate(path, outbox)


@functools.cache
def _migrated(*, apart: bool) -> tuple[bytes, bytes, bytes]:
    """The bytes of a database that was just made and that nobody has open, of its key file, and of its id."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.db"
        migrate(path, Path(folder) / "outbox.db" if apart else None)
        with closing(sqlite3.connect(path)) as conn:
            its_id = identity(conn)[0].encode()
        assert sorted(os.listdir(folder)) == ["made.db", "made.db.seal", *(["outbox.db"] if apart else [])]
        made = path.read_bytes()
        assert made.count(its_id) == 1
        return made, beside(path).path.read_bytes(), its_id
