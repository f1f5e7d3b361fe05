"""The SQLite library that Python has loaded: our tables need a minimum release."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from ...model import Misconfigured

OLDEST = (3, 37, 0)  # the first with STRICT tables: https://www.sqlite.org/stricttables.html
OLDEST_WORDS = "3.37"
VERSION = sqlite3.sqlite_version_info
VERSION_WORDS = sqlite3.sqlite_version


def check() -> None:
    """Raise `Misconfigured` for a library that cannot read our tables; an older one reports a healthy file as damaged."""
    what_to_do = (
        "Install a newer libsqlite3, or use a Python that brings one; "
        "`python3 -c 'import sqlite3; print(sqlite3.sqlite_version)'` prints the version. The database is not at fault."
    )
    if sqlite3.sqlite_version_info < OLDEST:
        raise Misconfigured(
            f"SQLite {sqlite3.sqlite_version} is too old: {OLDEST_WORDS} or newer is needed (for STRICT tables). {what_to_do}"
        )
    with closing(sqlite3.connect(":memory:")) as conn:
        try:
            conn.execute("SELECT json_group_array(value) FROM json_each('[]')").fetchone()
        except sqlite3.OperationalError as error:  # before 3.38 a build has JSON functions only on request
            raise Misconfigured(
                f"SQLite {sqlite3.sqlite_version} was built without its JSON functions ({error}). {what_to_do}"
            ) from None
