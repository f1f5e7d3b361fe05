"""Looking for bytes in every file of a database: tables, free pages, WAL and what lies beside them."""

from __future__ import annotations

from pathlib import Path


def files_with(folder: Path, wanted: bytes) -> list[str]:
    """Return the names of the files of a folder, and of those below it, that have the bytes anywhere."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes())
