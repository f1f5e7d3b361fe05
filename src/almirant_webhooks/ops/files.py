"""Creates files with exact permissions, independent of the umask, and puts small private ones into place."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..model import Misconfigured


def create(path: Path, mode: int) -> int:
    """Create a file with exactly these permissions; return a descriptor for reading and writing. Raises `OSError`."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
    os.fchmod(descriptor, mode)
    return descriptor


def put_private(path: Path, content: str, *, anew: bool) -> bool:
    """Put a file that is its owner's alone into place, on the disk before this returns; raises `OSError`.

    It is there as a whole or not at all. Without `anew` an existing one stays; return whether it was put there.
    """
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(create(new, 0o600), "w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if anew:
            new.replace(path)
        else:
            os.link(new, path)
            new.unlink()
    except OSError as error:
        new.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):  # another process was first
            return False
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def check_link(path: Path) -> None:
    """Raise `Misconfigured` for a symbolic link that leads nowhere: creating what it names would hide a mistake."""
    try:
        leads_nowhere = path.is_symlink() and not path.exists()
    except OSError:  # opening it will report the reason
        return
    if leads_nowhere:
        raise Misconfigured(
            f"{path} is a link to {os.readlink(path)}, where there is no file (is its disk mounted?). Put the file there, "
            "or remove the link."
        )
