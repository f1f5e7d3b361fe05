"""Makes files with exact rights, independent of the umask."""

from __future__ import annotations

import os
from pathlib import Path

from ..model import Misconfigured


def create(path: Path, mode: int) -> int:
    """Make a new file with exactly these rights; return its descriptor, for writing. Raises `OSError`."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
    os.fchmod(descriptor, mode)
    return descriptor


def check_link(path: Path) -> None:
    """Raise `Misconfigured` for a symbolic link that leads to no file: to make the file there would hide a mistake."""
    try:
        leads_nowhere = path.is_symlink() and not path.exists()
    except OSError:  # whoever opens it says why it cannot be reached
        return
    if leads_nowhere:
        raise Misconfigured(
            f"{path} is a link to {os.readlink(path)}, where there is no file (is its disk mounted?). Put the file there, "
            "or remove the link."
        )
