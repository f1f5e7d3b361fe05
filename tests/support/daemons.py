"""Several daemons on one database in PostgreSQL, some of them processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from almirant_webhooks.daemon import Daemon
from almirant_webhooks.rules.buckets import BUCKETS, bucket_of

from .postgres import Outbox, new_database, new_tables
from .postgres_service import EverythingInPostgres, OutboxApart, shell_of_all

PROGRAM = Path(sys.executable).with_name("almirant-webhooks")
INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES (%s, 'work_item.created', %s)"
SHARES = """
SELECT d.id, array_agg(b.number) FROM daemons d JOIN buckets b ON b.daemon_id = d.id GROUP BY d.id ORDER BY d.joined_at
"""


class Daemons(EverythingInPostgres):
    """A database that daemons share. One of them can be in this process (`start`), and any number beside it."""

    def __init__(self, folder: Path, there: EverythingInPostgres | None = None) -> None:
        super().__init__(folder, there.there if there is not None else new_tables())
        self._folder = folder
        self.said = folder / "daemons.log"
        self.processes: list[asyncio.subprocess.Process] = []

    async def another(
        self, *, command: Sequence[str] = (str(PROGRAM),), environment: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        """Start one in a process of its own; what it says goes to the file `said`."""
        shell = shell_of_all(self, self._folder)
        options = "".join(
            f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
            for section, values in self.options.items()
            if section not in ("egress", "admin")
        )
        shell.config.write_text(shell.config.read_text() + options)
        with self.said.open("ab") as said:
            process = await asyncio.create_subprocess_exec(
                *command, "serve", "--config", str(shell.config), stderr=said, env={**os.environ, **(environment or {})}
            )
        self.processes.append(process)
        return process

    def shares(self) -> dict[str, set[int]]:
        """The buckets of each daemon that has any, by its id, the one that was first there first."""
        return {daemon: set(buckets) for daemon, buckets in self.ours.ask(SHARES)}

    async def until_shared(self, *sizes: int) -> list[set[int]]:
        """Wait until so many daemons have so many buckets each; return those."""
        await self.until(lambda: sorted(map(len, self.shares().values())) == sorted(sizes))
        return list(self.shares().values())

    def is_shared_by(self, count: int) -> bool:
        """Tell whether so many daemons have all buckets, and none more than its share."""
        sizes = [len(buckets) for buckets in self.shares().values()]
        return len(sizes) == count and sum(sizes) == BUCKETS and max(sizes) <= -(-BUCKETS // count)

    async def until_all_rest(self) -> None:
        """Wait until each daemon of this process rests."""
        await self.until_deliveries_rest()

    def send(self, project: str, payload: str = "{}") -> None:
        """Commit an event of a project."""
        self.there.ask(INSERT, project, payload)

    async def close(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await super().close()


class DaemonsApart(Daemons, OutboxApart):
    """A database that daemons share, and an outbox in another."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, EverythingInPostgres(folder, new_database()))


class ThreeDaemons(Daemons):
    """Three daemons in this process, which are started and stopped together."""

    def __init__(self, folder: Path, there: Outbox) -> None:
        super().__init__(folder, EverythingInPostgres(folder, there))
        self._others = [EverythingInPostgres(folder, there) for _ in range(2)]

    @classmethod
    def within(cls, folder: Path, there: Outbox) -> ThreeDaemons:
        return cls(folder, there)

    async def start(self, *, migrating: bool = True) -> Daemon:
        started = await super().start(migrating=migrating)
        for other in self._others:
            other.options, other.url = self.options, self.url
            await other.start(migrating=False)
        await self.until(self.is_well)
        return started

    def running(self) -> list[Daemon]:
        return [daemon for one in self._others for daemon in one.running()] + super().running()

    def is_well(self) -> bool:
        """They share the work again, too: a daemon that was taken for gone has ended."""
        return super().is_well() and self.is_shared_by(len(self.running()))

    async def until_all_rest(self) -> None:
        for other in self._others:
            await other.until_deliveries_rest()
        await super().until_all_rest()

    async def close(self) -> None:
        for other in self._others:
            await other.close()
        await super().close()


def project_in(buckets: Iterable[int]) -> str:
    """Return a project of one of these buckets."""
    wanted = set(buckets)
    return next(name for number in range(10_000) if bucket_of(name := f"proj-{number}") in wanted)
