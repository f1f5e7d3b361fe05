"""What finds nothing proves nothing: each harness is run with a bug put in, and has to find it.

Those of the steps and of the power have theirs in `test_steps.py` and `test_power.py`, an installed service's are in
`tests/system`.
"""

from __future__ import annotations

import sqlite3
import sys
from functools import partial, partialmethod
from pathlib import Path

import pytest

from almirant_webhooks.ops.sealing import Seals
from almirant_webhooks.sending.exchange import Connection
from almirant_webhooks.storage.sqlite import disk_space, free_pages, migrate

from ..conftest import Receiver
from ..sending import test_exchange
from ..storage import test_backup, test_sealed, test_sealed_upgrade, test_upgrade
from ..support.service import Service
from . import test_damage, test_disk_full, test_kill
from .process import DaemonProcess, RememberingReceiver
from .test_disk_full import Disk, disk, on_disk
from .test_kill import remembering

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]

__all__ = ["disk", "on_disk", "remembering"]  # their fixtures


def careless(bug: str) -> tuple[str, ...]:
    return (sys.executable, str(Path(__file__).with_name("careless.py")), bug)


def test_an_upgrade_that_drops_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = migrate._script
    monkeypatch.setattr(migrate, "_script", lambda *of: true(*of) + "\nDELETE FROM attempts WHERE number = 1;\n")
    with pytest.raises((AssertionError, ValueError)):
        test_upgrade.test_an_upgrade_keeps_every_row(1, tmp_path)


def test_a_migration_that_is_not_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = "return self.conn.execute(statement, *values)"
    assert run in test_upgrade._KILLED
    piecemeal = f'self.conn.execute("COMMIT"); self.conn.execute("BEGIN"); {run}'
    monkeypatch.setattr(test_upgrade, "_KILLED", test_upgrade._KILLED.replace(run, piecemeal))
    with pytest.raises(AssertionError):
        test_upgrade.test_a_migration_that_is_killed_has_changed_nothing(1, tmp_path)


def test_an_upgrade_that_leaves_plain_secrets_in_free_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_pages, "overwrite", lambda conn, path: [])
    with pytest.raises(AssertionError):
        test_sealed_upgrade.test_an_upgrade_seals_what_is_there_and_leaves_nothing_of_it(6, tmp_path)


async def test_a_service_that_seals_nothing(
    service: Service,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Seals, "seal", lambda self, text, owner, field: text)
    rule = test_sealed.test_through_a_webhook_s_life_no_file_and_no_line_has_a_secret
    with pytest.raises(AssertionError):
        await rule(service, receiver, tmp_path, capfd)


async def test_a_backup_that_copies_the_file_alone(
    service: Service, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed last is in the WAL, as nobody takes it from there meanwhile."""
    connect = Service.producer

    def connect_without_checkpoints(self: Service) -> sqlite3.Connection:
        conn: sqlite3.Connection = connect(self)
        conn.execute("PRAGMA wal_autocheckpoint=0")
        return conn

    monkeypatch.setattr(Service, "producer", connect_without_checkpoints)
    command = tmp_path / "cheap"
    command.write_text(f'#!/bin/sh\numask 077 && cat "{service.database}" > "$2"\n')
    command.chmod(0o755)
    monkeypatch.setattr(test_backup, "COMMAND", str(command))
    with pytest.raises((AssertionError, sqlite3.Error)) as found:
        await test_backup.test_a_copy_of_a_busy_database_is_one_moment_and_serves(service, receiver, tmp_path)
    assert "evt_" in str(found.value) or isinstance(found.value, sqlite3.Error), "found by something else"


@pytest.mark.parametrize("fault", ["deleted", "replaced", "table dropped"])
async def test_a_daemon_that_looks_away_from_damage(
    service: Service, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(test_damage, "DaemonProcess", partial(DaemonProcess, command=careless("looks-away")))
    monkeypatch.setattr(test_damage, "ENDS_WITHIN", 6.0)
    with pytest.raises(TimeoutError):
        await test_damage.test_damage_while_it_runs_ends_the_daemon(service, receiver, fault)


async def test_a_daemon_that_does_not_look_for_room(
    on_disk: Service, disk: Disk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_space, "has_free_space", lambda _: True)
    monkeypatch.setattr(Service, "until", partialmethod(Service.until, within=6))
    with pytest.raises(TimeoutError):
        await test_disk_full.test_idle(on_disk, disk, receiver)


async def test_a_daemon_that_forgets_what_was_in_flight(
    tmp_path: Path, remembering: RememberingReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_kill, "STUCK", 8.0)
    with pytest.raises(AssertionError, match=r"are stuck|no request came"):
        await test_kill.kill_over_and_over(tmp_path, remembering, 3, careless("forgets"))


def test_an_exchange_that_cuts_a_body_at_a_chunks_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_piece_alone(self: Connection, data: bytes) -> None:
        self._body, self._body_size = [data], len(data)

    monkeypatch.setattr(Connection, "on_body", last_piece_alone)
    with pytest.raises(AssertionError):
        test_exchange.test_a_chunked_body_is_whole_whatever_edge_it_is_cut_at("close")


def test_an_exchange_that_overlooks_what_comes_behind_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "on_message_begin", lambda self: None)
    with pytest.raises(AssertionError):
        test_exchange.test_a_connection_is_kept_only_when_nothing_is_left_of_its_answer()


def test_an_exchange_that_gives_up_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "_wait_for_last_bytes", Connection.time_out)
    with pytest.raises(AssertionError):
        test_exchange.test_a_time_limit_that_is_over_takes_what_has_come()
