"""PgBouncer before a database of a real server."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from . import needs, ports
from .postgres import NOBODY, Outbox


@contextmanager
def pooled(there: Outbox, mode: str, size: int = 5) -> Iterator[str]:
    """Run PgBouncer in a mode, with so many connections to the server; yield the URL of the database behind it.

    It resets nothing of a session before somebody else gets it.
    """
    program, port, server = needs.program("pgbouncer"), ports.free_port(), there.server
    config = server.write(
        f"pgbouncer-{port}.ini",
        f"[databases]\n{there.database} = host={server.folder} dbname={there.database} user=postgres\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\nauth_file = "
        f"{server.write('users', chr(34) * 2)}\npool_mode = {mode}\ndefault_pool_size = {size}\nserver_reset_query =\nlogfile =\npidfile =\n",
    )
    user = NOBODY if os.geteuid() == 0 else None
    process = subprocess.Popen([program, "-q", config], user=user, cwd=server.folder, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"postgresql://postgres@127.0.0.1:{port}/{there.database}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise AssertionError("PgBouncer has ended")
