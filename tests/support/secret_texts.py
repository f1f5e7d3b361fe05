"""Secrets that nobody is to find in any file, and where they are found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

TOKEN = "a-token-that-nobody-finds"
NEXT = "the-next-secret-that-nobody-finds"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Team": "of boards"}


def found(folder: Path, *texts: str) -> list[tuple[str, str]]:
    """Return where a text is: in each file of a folder but the key's, and in the dump of each database."""
    places = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".seal"}
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as conn:
            places[f".dump of {path.name}"] = "\n".join(conn.iterdump()).encode()
    return [(name, text) for name, content in places.items() for text in texts if text.encode() in content]


def leave_in_free_pages(path: Path, text: str) -> None:
    """Have many pages of a database hold a text that is in no table any more."""
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA secure_delete=OFF")
        conn.execute("CREATE TABLE gone (secret TEXT)")
        conn.executemany("INSERT INTO gone VALUES (?)", [(f"{text} {number} {'x' * 300}",) for number in range(1000)])
        conn.commit()
        conn.execute("DROP TABLE gone")
        conn.commit()
