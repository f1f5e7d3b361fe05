"""A webhook's change of secret. Nothing has to happen at the switch itself: each claim looks at the time."""

from __future__ import annotations

from datetime import datetime

from ... import clock
from ...model import Refused, Rotation, Secrets, StartedRotation, Waiting
from ...rules.signing import OVERLAP, secrets_at
from ...rules.texts import Text
from . import audit
from .in_flight import keep_sent
from .revisions import bump_revision
from .sealed import NEXT_SECRET, SECRET, open_headers, open_or_none
from .session import Session
from .webhooks import get


def start(
    conn: Session, webhook_id: str, *, secret: str, switch_at: datetime, actor: str, now: datetime
) -> StartedRotation:
    """Begin a change to a new secret, which signs from `switch_at` on; return the rotation with it.

    A rotation that waits for its switch can be brought forward to `now`, with the secret that it has.
    """
    project_id = get(conn, webhook_id).project_id
    keep_sent(conn, webhook_id)
    _, waiting, waits_for = columns = _columns(conn, webhook_id)
    if waiting is not None and waits_for is not None and now < clock.parse(waits_for):
        if switch_at > now:
            raise Waiting(
                Text(
                    "Webhook {webhook_id} has a new secret already, which signs from {waits_for} on. Keep the old secret, or switch to the new one now.",
                    webhook_id=webhook_id,
                    waits_for=waits_for,
                )
            )
        secret, action = conn.seals.open(waiting, webhook_id, NEXT_SECRET), "secret.switched"
    else:
        # A switch that is over is settled here, so that the secret before it is not in the way.
        if secrets_at(*columns, now=now).current == waiting:
            _settle(conn, webhook_id, str(waiting))
        action = "secret.rotated"
    switch_text = clock.text(switch_at)
    conn.execute(
        "UPDATE webhooks SET next_secret = ?, switch_at = ?, updated_at = ? WHERE id = ?",
        (conn.seals.seal(secret, webhook_id, NEXT_SECRET), switch_text, clock.text(now), webhook_id),
    )
    audit.note(
        conn,
        action,
        actor=actor,
        now=now,
        project_id=project_id,
        webhook_id=webhook_id,
        detail=f"switch at {switch_text}",
    )
    bump_revision(conn)
    both_until = clock.text(clock.parse(switch_text) + OVERLAP)
    return {
        "webhook_id": webhook_id,
        "secret": secret,
        "switch_at": switch_text,
        "switched": now >= clock.parse(switch_text),
        "both_until": both_until,
    }


def cancel(conn: Session, webhook_id: str, *, actor: str, now: datetime) -> None:
    """Take a new secret back before its switch; refused after it, when receivers may have let go of the one before."""
    project_id = get(conn, webhook_id).project_id
    rotation = state(conn, webhook_id, now)
    if rotation is None:
        raise Refused(Text("Webhook {webhook_id} has no new secret that could be taken back.", webhook_id=webhook_id))
    if rotation["switched"]:
        raise Refused(
            Text(
                "Webhook {webhook_id} has switched to its new secret at {switch_at} already.",
                webhook_id=webhook_id,
                switch_at=rotation["switch_at"],
            )
        )
    keep_sent(conn, webhook_id)
    conn.execute(
        "UPDATE webhooks SET next_secret = NULL, switch_at = NULL, updated_at = ? WHERE id = ?",
        (clock.text(now), webhook_id),
    )
    audit.note(conn, "secret.rotation_cancelled", actor=actor, now=now, project_id=project_id, webhook_id=webhook_id)
    bump_revision(conn)


def state(conn: Session, webhook_id: str, now: datetime) -> Rotation | None:
    """Tell when the secret switches or has switched, and until when `webhook-signature` carries both; None without one."""
    switch_at = _columns(conn, webhook_id)[2]
    if switch_at is None or now >= clock.parse(switch_at) + OVERLAP:
        return None
    return {
        "switch_at": switch_at,
        "switched": now >= clock.parse(switch_at),
        "both_until": clock.text(clock.parse(switch_at) + OVERLAP),
    }


def reveal(conn: Session, webhook_id: str, *, actor: str, now: datetime) -> Secrets:
    """Return the secrets that sign now and the headers with their values; write an audit entry on who read them."""
    project_id = get(conn, webhook_id).project_id
    audit.note(conn, "secret.revealed", actor=actor, now=now, project_id=project_id, webhook_id=webhook_id)
    secret, following, switch_at = _columns(conn, webhook_id)
    seals = conn.seals
    secret = seals.open(secret, webhook_id, SECRET)
    following = following and seals.open(following, webhook_id, NEXT_SECRET)
    (headers,) = conn.execute("SELECT headers FROM webhooks WHERE id = ?", (webhook_id,)).fetchone()
    return secrets_at(secret, following, switch_at, now=now)._replace(headers=open_headers(seals, webhook_id, headers))


def settle(conn: Session, now: datetime, limit: int = 100) -> int:
    """Delete the old secrets of switches that are a day old, at most `limit`; return their number."""
    over = conn.execute(
        "SELECT id, next_secret FROM webhooks INDEXED BY webhooks_switching "
        "WHERE switch_at IS NOT NULL AND switch_at <= ? AND deleted_at IS NULL LIMIT ?",
        (clock.text(now - OVERLAP), limit),
    ).fetchall()
    for webhook_id, following in over:
        keep_sent(conn, webhook_id)
        _settle(conn, webhook_id, following)
        conn.execute("UPDATE webhooks SET next_secret = NULL, switch_at = NULL WHERE id = ?", (webhook_id,))
    return len(over)


def _settle(conn: Session, webhook_id: str, following: str) -> None:
    """Make the next secret the current one. One that cannot be opened is kept as it is, and goes on not to be opened."""
    opened = open_or_none(conn, webhook_id, NEXT_SECRET, following)
    secret = following if opened is None else conn.seals.seal(opened, webhook_id, SECRET)
    conn.execute("UPDATE webhooks SET secret = ? WHERE id = ?", (secret, webhook_id))


def _columns(conn: Session, webhook_id: str) -> tuple[str, str | None, str | None]:
    row = conn.execute("SELECT secret, next_secret, switch_at FROM webhooks WHERE id = ?", (webhook_id,)).fetchone()
    return str(row[0]), row[1], row[2]
