"""Which processes have a database open, write to it, or read from it, as far as this user may see them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

LOCKS = Path("/proc/locks")
# Bytes of the -shm that SQLite locks (https://www.sqlite.org/walformat.html#locks), and of a file without a WAL.
_WAL_WRITER, _WAL_READERS = range(120, 121), range(123, 128)
_WRITER, _READERS = range(0x40000001, 0x40000002), range(0x40000002, 0x40000200)
_LOOKS, _BETWEEN = 5, 0.2


def users(path: Path) -> set[int]:
    """Return the other processes that have a database open."""
    names = {str(path), f"{path}-wal", f"{path}-shm"}
    processes = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if any(os.readlink(link) in names for link in (entry / "fd").iterdir()):
                processes.add(int(entry.name))
        except OSError:
            continue
    return processes


def writer(path: Path) -> set[int]:
    """Return the process that has the write lock of a database."""
    return _holders(path, _WAL_WRITER, _WRITER)


def stuck_readers(path: Path) -> set[int]:
    """Return the processes that were seen to read at every one of some looks."""
    processes = _holders(path, _WAL_READERS, _READERS)
    for _ in range(_LOOKS - 1):
        if processes:
            time.sleep(_BETWEEN)
            processes &= _holders(path, _WAL_READERS, _READERS)
    return processes


def _holders(path: Path, in_wal: range, in_file: range) -> set[int]:
    shared = Path(f"{path}-shm")
    try:
        inode, lock_range = (shared.stat().st_ino, in_wal) if shared.exists() else (path.stat().st_ino, in_file)
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    processes = set()
    for line in lines:
        words = line.split()
        if len(words) == 8 and words[1] == "POSIX" and words[5].rpartition(":")[2] == str(inode):
            end = 2**63 if words[7] == "EOF" else int(words[7])
            if int(words[6]) < lock_range.stop and end >= lock_range.start:
                processes.add(int(words[4]))
    return processes - {os.getpid()}


def named(processes: Iterable[int]) -> str:
    """Name processes: `1234 (python3)`; says so where there are none to name."""
    return ", ".join(_name(process) for process in sorted(processes)) or "none that this user may see"


def _name(process: int) -> str:
    try:
        return f"{process} ({Path(f'/proc/{process}/comm').read_text().strip()})"
    except OSError:
        return str(process)
