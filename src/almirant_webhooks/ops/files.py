"""Creates files with exact permissions, independent of the umask."""

from __future__ import annotations

import os
from pathlib import Path

from ..model import Misconfigured


def create(path: Path, mode: int) -> int:
    """Create a file with exactly these permissions; return a descriptor for reading and writing. Raises `OSError`."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
    os.fchmod(descriptor, mode)
    return descriptor


def check_link(path: Path) -> None:
    """Raise `Misconfigured` for a symbolic link whose target is missing: creating the target would hide a mistake."""
    try:
        leads_nowhere = path.is_symlink() and not path.exists()
    except OSError:  # opening it will report the reason
        return
    if leads_nowhere:
        raise Misconfigured(
            f"{path} is a link to {os.readlink(path)}, where there is no file (is its disk mounted?). Put the file there, "
            "or remove the link."
        )
