"""A daemon with everything in PostgreSQL, as a process of its own: its connections take more threads than a file does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import needs
from ..support.postgres import new_tables
from ..support.postgres_service import EverythingInPostgres
from .process import DaemonProcess

pytestmark = pytest.mark.slow


@pytest.fixture
def threads(tmp_path: Path) -> Path:
    """The file that says how many threads the daemon's process may have."""
    return tmp_path / "threads"


@pytest.fixture
def daemon(threads: Path, tmp_path: Path, free_port: int) -> Iterator[DaemonProcess]:
    """A daemon, not started yet."""
    service = EverythingInPostgres(tmp_path, new_tables())
    service.options |= {
        "database": {"url": service.url},
        "secrets": {"key_file": str(service.key)},
        "admin": {"listen": f"127.0.0.1:{free_port}", "token": "t" * 32},
    }
    service.migrate()
    shim = needs.shared_library(Path(__file__).with_name("threads.c"), tmp_path)
    there = DaemonProcess(service, environment={"LD_PRELOAD": str(shim), "THREADS_FILE": str(threads)})
    yield there
    there.close()


@pytest.mark.parametrize("most", [3, 8, 12])
def test_without_the_threads_that_it_needs_the_daemon_does_not_start(
    daemon: DaemonProcess, threads: Path, most: int
) -> None:
    """Exit 1 and a sentence with what to raise: no traceback, no abort."""
    threads.write_text(str(most))
    daemon.start()
    assert daemon.wait() == 1
    said = daemon.log.read_text()
    assert "The daemon could not start its threads" in said
    assert "ulimit -u" in said
    assert "Traceback" not in said
