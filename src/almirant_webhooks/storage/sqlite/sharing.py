"""Who may open the -wal and -shm that SQLite makes beside a database.

They get its rights, but the user and the group of whoever makes them: beside an application's database they would keep the
application out. With the database's group they are open to whom the database is.
"""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_UNKNOWN = 65_534  # what a user namespace shows for users that it does not know (kernel.overflowuid)


def give_group(path: Path) -> None:
    """Give a database's group to its -wal and -shm where this user has made them, and may."""
    path = path.resolve()
    group = path.stat().st_gid
    for file in _beside(path):
        with suppress(OSError):
            status = file.stat()
            if status.st_gid != group and status.st_uid == os.geteuid():
                os.chown(file, -1, group)


def kept_out(path: Path) -> str | None:
    """Say whom the -wal and -shm of this user's beside a database keep out, and what to do; None for nobody.

    Where there are none, it goes by those that this user would make. (Root's are given to the database's owner by SQLite.)
    """
    path = path.resolve()
    status = path.stat()
    mode = status.st_mode
    folder = path.parent
    way_out = f"chgrp --reference={path} {folder}; chmod g+s {folder}"
    for owner in _made(path, status):
        if owner.st_gid != status.st_gid and mode >> 3 & 6 & ~mode:
            return (
                f"The -wal and -shm of {path} would be of another group than it, and keep out whoever opens it by its "
                f"group. Let its directory hand the group on: {way_out}"
            )
        if owner.st_uid != status.st_uid and mode >> 6 & 6 & ~mode and not _is_member(status.st_uid, status.st_gid):
            return (
                f"The -wal and -shm of {path} would keep out its owner, who is not in its group. Give it a group that "
                f"its owner and this user are both in, and its directory too: {way_out}"
            )
    return None


class _Ids(NamedTuple):
    st_uid: int
    st_gid: int


def _beside(path: Path) -> list[Path]:
    return [Path(f"{path}-wal"), Path(f"{path}-shm")]


def _made(path: Path, status: os.stat_result) -> list[_Ids]:
    """Return the user and group of what this user has made, or would make."""
    me = os.geteuid()
    files = [file.stat() for file in _beside(path) if file.exists()]
    if files or me == 0:
        return [_Ids(file.st_uid, file.st_gid) for file in files if file.st_uid == me]
    folder = path.parent.stat()
    if folder.st_mode & stat.S_ISGID:
        return [_Ids(me, folder.st_gid)]
    may_give = status.st_gid in os.getgroups()
    return [_Ids(me, status.st_gid if may_give else os.getegid())]


def _is_member(uid: int, gid: int) -> bool:
    """Tell whether a user is in a group; one that is not known here counts as a member."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return True
    return uid == _UNKNOWN or gid in os.getgrouplist(user.pw_name, user.pw_gid)
