"""A daemon with everything in PostgreSQL, whose role an administrator limits."""

from __future__ import annotations

from pathlib import Path

from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.storage.postgres.database_session import DatabaseSession, open_database

from ..support.daemons import Daemons
from ..support.postgres_roles import make_role

_OF_ROLE = "FROM pg_stat_activity WHERE usename = %s"
_END = f"SELECT pg_terminate_backend(pid) {_OF_ROLE} AND pid <> %s"
_WAITS = f"SELECT pid {_OF_ROLE} AND wait_event_type = 'Lock' AND query LIKE '%%UPDATE daemons SET seen_at%%'"


class Limited(Daemons):
    """A daemon whose role an administrator limits; another one beside it has a role of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.migrate()
        self.role = make_role(self.there, "daemon")
        self.there.ask(f"GRANT postgres TO {self.role}")
        self.unlimited, self.url = self.url, self.there.server.url(self.there.database, self.role)

    def set(self, words: str) -> None:
        self.there.ask(f"ALTER ROLE {self.role} {words}")

    def limited_session(self) -> DatabaseSession:
        """Open a session of the daemon's role."""
        url = parse_postgres_url(self.url)
        assert url is not None
        return open_database(Place(url, self.there.place.schema), self.seals)

    def end_sessions(self, but: int = 0) -> None:
        self.there.ask(_END, self.role, but)

    async def session_of_lease(self) -> int:
        """The process of the session by which the daemon says that it is alive: it waits for a lock that we have."""
        with self.there.connect() as conn:
            conn.execute("LOCK TABLE daemons IN SHARE MODE")
            await self.until(lambda: self.there.ask(_WAITS, self.role))
            return int(self.there.ask(_WAITS, self.role)[0][0])
