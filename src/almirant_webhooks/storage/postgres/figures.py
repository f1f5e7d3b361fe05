"""What the server is and does, for `doctor`."""

from __future__ import annotations

from typing import NamedTuple

from .connection import Session, reads

LONG_TRANSACTION = 300.0  # seconds

_SERVER = """
SELECT current_setting('server_version'), current_user, current_setting('transaction_read_only')::boolean, coalesce((
    SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()), 0)
"""


class Server(NamedTuple):
    """Its version, our role there, whether it is read-only, and for how many seconds its oldest transaction is open."""

    version: str
    role: str
    read_only: bool
    oldest_transaction: float


@reads
def server(session: Session) -> Server:
    """Return what a server tells of itself. A role that sees no others' sessions sees no transactions of theirs either."""
    version, role, read_only, oldest = session.run(_SERVER)[0]
    return Server(version, role, read_only, float(oldest))
