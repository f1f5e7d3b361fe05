"""What is sealed in the database: each webhook's secrets and header values, and a text that proves the key.

The functions take a connection, which knows its keys. Call functions that write inside a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from ...model import Headers, Misconfigured
from ...ops.sealed_texts import is_sealed, key_id_of
from ...ops.sealing import Seals, Unopenable
from ..engine import EVERY_ROW, Resealed
from .session import Row, Session

SECRET, NEXT_SECRET = "secret", "next_secret"
_PROOF, _PROOF_FIELD = "almirant-webhooks", "seal_check"  # the text that proves the key, and what it is bound to
_COLUMNS = "SELECT id, secret, next_secret, headers FROM webhooks WHERE deleted_at IS NULL"


def open_headers(seals: Seals, webhook_id: str, column: str | None) -> Headers:
    """Return a webhook's headers with their values; raises `NoKey` or `Unopenable`, the latter too for what was written by hand."""
    if not column:
        return ()
    try:
        return tuple((name, seals.open(value, webhook_id, _of_header(name))) for name, value in json.loads(column))
    except (ValueError, TypeError, AttributeError):
        raise Unopenable(f"the headers of {webhook_id} cannot be read: set them anew.") from None


def seal_headers(seals: Seals, webhook_id: str, headers: Headers, stored: Headers) -> str | None:
    """Return headers as their column has them; values that are those `stored` are sealed already."""
    known = {(name.lower(), value) for name, value in stored}
    sealed = [
        (name, value if (name.lower(), value) in known else seals.seal(value, webhook_id, _of_header(name)))
        for name, value in headers
    ]
    return json.dumps(sealed) if sealed else None


def stored_headers(column: str | None) -> Headers:
    """Return a webhook's headers with their values as they are stored."""
    return tuple((name, value) for name, value in json.loads(column)) if column else ()


def _of_header(name: str) -> str:
    return f"headers:{name.lower()}"


def open_or_none(conn: Session, webhook_id: str, field: str, text: str | None) -> str | None:
    """Return what a stored text is; None for none, and for one that cannot be opened. Raises `NoKey`."""
    try:
        return conn.seals.open(text, webhook_id, field) if text is not None else None
    except Unopenable:
        return None


def replace_secret(conn: Session, webhook_id: str, secret: str) -> bool:
    """Set the one secret of a webhook; return whether it had another one, or a next one."""
    stored, following = conn.execute("SELECT secret, next_secret FROM webhooks WHERE id = ?", (webhook_id,)).fetchone()
    if following is None and open_or_none(conn, webhook_id, SECRET, stored) == secret:
        return False
    conn.execute(
        "UPDATE webhooks SET secret = ?, next_secret = NULL, switch_at = NULL WHERE id = ?",
        (conn.seals.seal(secret, webhook_id, SECRET), webhook_id),
    )
    return True


def why_not_opened(conn: Session, webhook_id: str) -> str | None:
    """Return why something of a webhook cannot be opened, or None where all of it can. Raises `NoKey`."""
    for row in conn.execute(f"{_COLUMNS} AND id = ?", (webhook_id,)):
        try:
            _open_row(conn.seals, row)
        except Unopenable as error:
            return str(error)
    return None


def unopenable(conn: Session) -> tuple[int, dict[str, str]]:
    """Open everything that is sealed; return the number of webhooks, and why those that cannot be opened cannot.

    Raises `NoKey` without a key, and `Misconfigured` for another database's.
    """
    check(conn)
    count, problems = 0, {}
    for row in conn.execute(_COLUMNS):
        count += 1
        try:
            _open_row(conn.seals, row)
        except Unopenable as error:
            problems[row["id"]] = str(error)
    return count, problems


def _open_row(seals: Seals, row: Row) -> None:
    for field in (SECRET, NEXT_SECRET):
        if row[field] is not None:
            seals.open(row[field], row["id"], field)
    open_headers(seals, row["id"], row["headers"])


def check(conn: Session) -> None:
    """Raise `NoKey` or `Misconfigured` unless the key is the one with which this database was sealed."""
    (proof,) = conn.execute("SELECT seal_check FROM database_meta").fetchone()
    if proof is None:
        return
    seals = conn.seals
    try:
        seals.open(proof, "", _PROOF_FIELD)
    except Unopenable as error:
        raise Misconfigured(
            f"The key file {seals.path} is not that of this database: {error} Put the key file in its place that was beside "
            "the database when it was copied or backed up (see docs/key.md)."
        ) from None


def seal_all(conn: Session) -> int | None:
    """Seal everything at the first time that sealing is on, a new database included; return of how many webhooks, or None.

    It makes the service's own key file. It is part of a migration, so it is not bounded in rows.
    """
    (proof,) = conn.execute("SELECT seal_check FROM database_meta").fetchone()
    seals = conn.seals
    if not seals.is_on or (proof is not None and not plain_values(conn)):
        return None
    if proof is None:
        seals.ensure()
    else:  # some were made while sealing was off
        check(conn)
    step = reseal(conn, "", EVERY_ROW)
    if step.problems and proof is None:
        raise Misconfigured(" ".join(step.problems.values()))
    if proof is None:
        finish(conn)
    else:
        conn.execute("UPDATE database_meta SET plain_left = 1")
    return step.looked_at


def plain_values(conn: Session) -> int:
    """Return how many secrets and header values are not sealed."""
    return sum(
        not is_sealed(value)
        for row in conn.execute(_COLUMNS)
        for value in (row[SECRET], row[NEXT_SECRET], *(value for _, value in stored_headers(row["headers"])))
        if value
    )


def reseal(conn: Session, after: str, limit: int) -> Resealed:
    """Store what is secret of the next `limit` webhooks as it is stored now: with the newest key, or plain if sealing is off."""
    seals, problems = conn.seals, {}
    rows = conn.execute(f"{_COLUMNS} AND id > ? ORDER BY id LIMIT ?", (after, limit)).fetchall()
    for row in rows:
        try:
            changed = _resealed(seals, row)
        except Unopenable as error:
            problems[row["id"]] = str(error)
            continue
        for column, value in changed.items():
            conn.execute(f"UPDATE webhooks SET {column} = ? WHERE id = ?", (value, row["id"]))
    return Resealed(len(rows), rows[-1]["id"] if rows and len(rows) == limit else None, problems)


def _resealed(seals: Seals, row: Row) -> dict[str, str | None]:
    """Return the columns of a webhook that are not stored as they would be now."""
    webhook_id, changed = row["id"], dict[str, str | None]()
    for field in (SECRET, NEXT_SECRET):
        if row[field] and not seals.is_current(row[field]):
            changed[field] = seals.seal(seals.open(row[field], webhook_id, field), webhook_id, field)
    stored = stored_headers(row["headers"])
    if not _are_current(seals, (value for _, value in stored)):
        changed["headers"] = seal_headers(seals, webhook_id, open_headers(seals, webhook_id, row["headers"]), ())
    return changed


def _are_current(seals: Seals, values: Iterable[str]) -> bool:
    return all(seals.is_current(value) for value in values)


def finish(conn: Session) -> None:
    """Store the text that proves the key that seals now, or none where sealing is off.

    If everything was plain until now, note that bytes of it may be left in the file's free space.
    """
    seals = conn.seals
    proof = seals.seal(_PROOF, "", _PROOF_FIELD) if seals.is_on else None
    conn.execute(
        "UPDATE database_meta SET seal_check = ?1, plain_left = CASE WHEN ?1 IS NOT NULL AND seal_check IS NULL "
        "AND (EXISTS (SELECT 1 FROM webhooks) OR EXISTS (SELECT 1 FROM audit)) THEN 1 ELSE plain_left END",
        (proof,),
    )


def is_plain_left(conn: Session) -> bool:
    """Tell whether bytes of plain secrets may be left in the file's free space."""
    return bool(conn.execute("SELECT plain_left FROM database_meta").fetchone()[0])


def is_key_new(conn: Session) -> bool:
    """Tell whether the last key of the file is another one than that of the last time that everything was sealed."""
    (proof,) = conn.execute("SELECT seal_check FROM database_meta").fetchone()
    return proof is None or key_id_of(proof) != conn.seals.last()
