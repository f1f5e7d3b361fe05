"""Webhooks and their subscriptions. Call functions that write inside a transaction."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import cast

from ... import clock
from ...model import OPERATOR, OPTIONS, NewWebhook, NotFound, Options, Standing, Webhook
from ...rules import filters
from ...rules.headers import masked
from ...rules.texts import Text
from ...rules.validation import check_room
from ..engine import MOST_COUNTED
from . import audit, held
from .fanout import delivery_ids, insert_test_event
from .in_flight import keep_sent
from .option_columns import changed_options, set_options
from .rendering import Bodies
from .revisions import bump_revision
from .sealed import SECRET, replace_secret, stored_headers
from .session import Row, Session

_OPTIONS = ", ".join(f"w.{name}" for name in OPTIONS)
_SELECT = f"""
SELECT w.id, w.project_id, w.url, w.description,
       (SELECT group_concat(pattern, ' ') FROM
           (SELECT pattern FROM subscriptions WHERE webhook_id = w.id ORDER BY pattern)) AS patterns,
       {_OPTIONS}, w.enabled, w.disabled_at, w.disabled_reason, w.created_at, w.updated_at
FROM webhooks w WHERE w.deleted_at IS NULL
"""


def _webhook(row: Row) -> Webhook:
    return Webhook(
        id=row["id"],
        project_id=row["project_id"],
        url=row["url"],
        description=row["description"],
        events=tuple((row["patterns"] or "").split()),
        filter=None if row["filter"] is None else filters.of_text(row["filter"]),
        concurrency=row["concurrency"],
        headers=masked(stored_headers(row["headers"])),
        rate_limit=row["rate_limit"],
        template=row["template"],
        ordered=bool(row["ordered"]),
        enabled=bool(row["enabled"]),
        disabled_at=row["disabled_at"],
        disabled_reason=row["disabled_reason"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def create(
    conn: Session,
    *,
    project_id: str,
    url: str,
    events: Sequence[str],
    secret: str,
    description: str,
    options: Options | None = None,
    limit: int,
    now: datetime,
    actor: str = OPERATOR,
) -> NewWebhook:
    """Create a webhook from checked values; raises `Refused` if the project has `limit` of them already."""
    count = conn.execute(
        "SELECT count(*) FROM webhooks WHERE project_id = ? AND deleted_at IS NULL", (project_id,)
    ).fetchone()[0]
    check_room(project_id, count, limit)
    webhook_id = f"wh_{secrets.token_hex(10)}"
    now_text = clock.text(now)
    conn.execute(
        "INSERT INTO webhooks (id, project_id, url, description, secret, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (webhook_id, project_id, url, description, conn.seals.seal(secret, webhook_id, SECRET), now_text, now_text),
    )
    _subscribe(conn, webhook_id, events)
    set_options(conn, webhook_id, changed_options(conn, webhook_id, options or {}))
    audit.note(conn, "webhook.created", actor=actor, now=now, project_id=project_id, webhook_id=webhook_id)
    bump_revision(conn)
    return NewWebhook(**asdict(get(conn, webhook_id)), secret=secret)


def _subscribe(conn: Session, webhook_id: str, events: Sequence[str]) -> None:
    conn.execute("DELETE FROM subscriptions WHERE webhook_id = ?", (webhook_id,))
    conn.executemany(
        "INSERT INTO subscriptions (webhook_id, pattern) VALUES (?, ?)",
        [(webhook_id, pattern) for pattern in sorted(set(events))],
    )


def get(conn: Session, webhook_id: str) -> Webhook:
    """Return a webhook without its secret; raises `NotFound`, for a deleted one too."""
    row = conn.execute(f"{_SELECT} AND w.id = ?", (webhook_id,)).fetchone()
    if row is None:
        raise NotFound(Text("There is no webhook {webhook_id}.", webhook_id=webhook_id), "id")
    return _webhook(row)


def find(conn: Session, *, project_id: str | None = None, enabled: bool | None = None) -> list[Webhook]:
    """Return the webhooks, of a project or of all, oldest first."""
    rows = conn.execute(
        f"{_SELECT} AND (w.project_id = ?1 OR ?1 IS NULL) AND (w.enabled = ?2 OR ?2 IS NULL) ORDER BY w.created_at, w.id",
        (project_id, enabled),
    )
    return [_webhook(row) for row in rows]


def of_ids(conn: Session, ids: Iterable[str]) -> dict[str, Webhook]:
    """Return those of these webhooks that are there, by their ids."""
    rows = conn.execute(f"{_SELECT} AND w.id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),))
    return {row["id"]: _webhook(row) for row in rows}


def update(
    conn: Session,
    webhook_id: str,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    secret: str | None = None,
    description: str | None = None,
    options: Options | None = None,
    now: datetime,
    actor: str = OPERATOR,
) -> Webhook:
    """Change the given fields; the next claim uses them. A secret replaces the current and the next one at once.

    Values that the webhook has already change nothing; if nothing changes, the audit trail gets no entry.
    """
    current = get(conn, webhook_id)
    changed: list[str] = []
    keep_sent(conn, webhook_id)
    if url is not None and url != current.url:
        conn.execute("UPDATE webhooks SET url = ? WHERE id = ?", (url, webhook_id))
        changed.append("url")
    if events is not None and set(events) != set(current.events):
        _subscribe(conn, webhook_id, events)
        changed.append("events")
    if secret is not None:
        changed += ["secret"] if replace_secret(conn, webhook_id, secret) else []
    if description is not None and description != current.description:
        conn.execute("UPDATE webhooks SET description = ? WHERE id = ?", (description, webhook_id))
        changed.append("description")
    columns = changed_options(conn, webhook_id, options or {})
    changed += columns
    if not changed:
        return current
    set_options(conn, webhook_id, columns)
    conn.execute("UPDATE webhooks SET updated_at = ? WHERE id = ?", (clock.text(now), webhook_id))
    audit.note(
        conn,
        "webhook.updated",
        actor=actor,
        now=now,
        project_id=current.project_id,
        webhook_id=webhook_id,
        detail=", ".join(changed),
    )
    bump_revision(conn)
    return get(conn, webhook_id)


def enable(
    conn: Session,
    webhook_id: str,
    *,
    discard_held: bool,
    now: datetime,
    actor: str = OPERATOR,
    count: int | None = None,
) -> None:
    """Enable a webhook. Held deliveries that are due are sent within the webhook's limit; the others keep their time.

    With `discard_held` none of them is ever sent: they count as cancelled at once, by `held.discard`. `count` is
    the result of `held.count`, for the audit trail.
    """
    get(conn, webhook_id)
    # What has failed is counted anew, as nothing was tried meanwhile; a failure that was reported goes on.
    changed_rows = conn.execute(
        "UPDATE webhooks SET enabled = 1, disabled_at = NULL, disabled_reason = NULL, updated_at = ?, "
        "down_since = NULL, down_until = NULL, down_cause = NULL, down_given_up = 0, "
        "failing_since = CASE WHEN failing_noticed_at IS NOT NULL THEN failing_since END, "
        "failures_in_a_row = CASE WHEN failing_noticed_at IS NOT NULL THEN failures_in_a_row ELSE 0 END "
        "WHERE id = ? AND enabled = 0 RETURNING project_id",
        (clock.text(now), webhook_id),
    ).fetchone()
    if changed_rows:
        detail = ""
        if discard_held:
            held.begin_discarding(conn, webhook_id, now)
            detail = "held deliveries discarded" if count is None else f"{count} held deliveries discarded"
        audit.note(
            conn,
            "webhook.enabled",
            actor=actor,
            now=now,
            project_id=changed_rows[0],
            webhook_id=webhook_id,
            detail=detail,
        )
    bump_revision(conn)


def disable(conn: Session, webhook_id: str, now: datetime, *, actor: str = OPERATOR, detail: str = "") -> None:
    """Disable a webhook: from the commit on nothing is claimed for it; its pending deliveries are held.

    `detail` says why in the audit trail.
    """
    get(conn, webhook_id)
    now_text = clock.text(now)
    changed_rows = conn.execute(
        "UPDATE webhooks SET enabled = 0, disabled_at = ?, updated_at = ? WHERE id = ? AND enabled = 1 RETURNING project_id",
        (now_text, now_text, webhook_id),
    ).fetchone()
    if changed_rows:
        audit.note(
            conn,
            "webhook.disabled",
            actor=actor,
            now=now,
            project_id=changed_rows[0],
            webhook_id=webhook_id,
            detail=detail,
        )
    bump_revision(conn)


def delivery_count(conn: Session, webhook_id: str) -> tuple[int, bool]:
    """Return how many deliveries the log has for a webhook, and whether that is all of them: it stops at `MOST_COUNTED`."""
    get(conn, webhook_id)
    counted = "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE webhook_id = ? LIMIT ?) counted"
    number = int(conn.execute(counted, (webhook_id, MOST_COUNTED + 1)).fetchone()[0])
    return min(number, MOST_COUNTED), number <= MOST_COUNTED


def delete(conn: Session, webhook_id: str, now: datetime, *, actor: str = OPERATOR) -> None:
    """Delete a webhook: it is gone at once and its secrets overwritten; its rows are erased in small steps later."""
    project_id = get(conn, webhook_id).project_id
    now_text = clock.text(now)
    conn.execute(
        "UPDATE webhooks SET deleted_at = ?, secret = '', next_secret = NULL, switch_at = NULL, url = '', "
        "description = '', down_cause = NULL, disabled_reason = NULL WHERE id = ?",
        (now_text, webhook_id),
    )
    set_options(conn, webhook_id, dict.fromkeys(OPTIONS))
    conn.execute("DELETE FROM subscriptions WHERE webhook_id = ?", (webhook_id,))
    audit.note(conn, "webhook.deleted", actor=actor, now=now, project_id=project_id, webhook_id=webhook_id)
    bump_revision(conn)


def health(conn: Session, webhook_id: str) -> list[Standing]:
    """Return the row of the view `webhook_health` that a webhook has."""
    rows = conn.execute("SELECT * FROM webhook_health WHERE webhook_id = ?", (webhook_id,))
    return [cast("Standing", dict(row)) for row in rows]


def request_test(
    conn: Session, webhook_id: str, event_type: str, payload: str, now: datetime, *, actor: str = OPERATOR
) -> str:
    """Request one attempt of a sample event at this webhook, even if it is disabled; return the delivery's id."""
    webhook = get(conn, webhook_id)
    seq, event_id, body = insert_test_event(conn, webhook.project_id, event_type, payload, now)
    new, bodies = next(delivery_ids(now)), Bodies()
    rendered = webhook.template is not None and bodies.render(new, webhook.template, body) is not body
    now_text = clock.text(now)
    conn.execute(
        "INSERT INTO deliveries (id, event_seq, event_id, webhook_id, resend_requested_at, created_at, test, generation, rendered) "
        "SELECT ?, ?, ?, id, ?, ?, 1, generation, ? FROM webhooks WHERE id = ?",
        (new, seq, event_id, now_text, now_text, rendered, webhook_id),
    )
    bodies.write(conn)
    audit.note(
        conn,
        "webhook.tested",
        actor=actor,
        now=now,
        project_id=webhook.project_id,
        webhook_id=webhook_id,
        delivery_id=new,
        detail=event_type,
    )
    bump_revision(conn)
    return new
