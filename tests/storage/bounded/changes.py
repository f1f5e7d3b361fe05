"""Transactions that people ask for: webhooks, resends, replays, tokens, sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from almirant_webhooks import clock
from almirant_webhooks.model import Webhook
from almirant_webhooks.rules.replays import ReplayCount, ReplaySelection
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.engine import (
    FIRST_RESEND,
    KEYS_KEPT,
    KeyedRow,
    SessionRow,
)
from almirant_webhooks.storage.sql import (
    audit,
    claiming,
    imports,
    later_deliveries,
    log,
    producers,
    project_tokens,
    replays,
    request_keys,
    resend_steps,
    resends,
    revisions,
    rotation,
    sealed,
    sessions,
    webhooks,
)
from almirant_webhooks.storage.sqlite.connection import Connection, seals_of

from ...support import large
from ...support.large import BUSY, NOW, OFF, RUNNING, TAIL
from .kind import A_DELIVERY, DAY, LIMIT, Call, Kind, steps_of


def _begin_resend(conn: Connection) -> str:
    # As many as there are webhooks of a kind; `evt_alone` is behind them.
    size = conn.execute("SELECT max(seq) FROM events WHERE seq < 1000000").fetchone()[0]
    return resends.start(conn, Selection(status="5xx"), large.counts_of(size), actor="operator", now=NOW)


def _begin_replay(*events: str) -> Call:
    """Begin a replay of all that there is, at a webhook that has none of it and was just created."""

    def call(conn: Connection) -> object:
        webhook = _created(conn, events or ("*",))
        counted = ReplayCount(webhook_id=webhook.id, events=9, erased=0, since=large.OLD, reaches_back_to=None)
        selection = ReplaySelection(webhook.id, NOW - 1000 * DAY)
        return replays.start(conn, selection, counted, actor="operator", now=NOW + 2 * DAY)

    return call


def _replay_alone(*events: str) -> Call:
    """Let a replay be all that is under way."""

    def call(conn: Connection) -> None:
        conn.execute("DELETE FROM resend_webhooks")
        _begin_replay(*events)(conn)

    return call


def _claim_of_replay(conn: Connection) -> object:
    (webhook,) = conn.execute(
        "SELECT replay_of FROM resends WHERE replay_of IS NOT NULL AND finished_at IS NULL"
    ).fetchone()
    return claiming.claim(conn, {webhook: 8}, NOW + 2 * DAY)


def _step_alone(conn: Connection) -> object:
    return resend_steps.step(conn, NOW + 2 * DAY)


def _replay_and_step(conn: Connection) -> None:
    _replay_alone()(conn)
    _step_alone(conn)


def _three_steps(conn: Connection) -> None:
    reached = FIRST_RESEND
    for _ in range(3):
        reached = resend_steps.step(conn, NOW, reached).reached


def _created(conn: Connection, events: Sequence[str] = ("*",)) -> Webhook:
    values = {"url": "https://example.com/", "events": events, "secret": "s" * 20, "description": ""}
    return webhooks.create(conn, project_id="p", limit=100, now=NOW, **values)  # type: ignore[arg-type]


def _import(conn: Connection) -> object:
    """Make two webhooks, of which one is there already."""
    values: dict[str, Any] = {"url": "https://example.com/", "events": ("*",), "secret": "s" * 20, "description": ""}
    return [
        imports.create(
            conn,
            "svix:ep_1",
            project_id="p",
            options={},
            disabled_because="why",
            limit=100,
            now=NOW,
            actor="o",
            **values,
        )
        for _ in range(2)
    ]


def _token(conn: Connection) -> None:
    project_tokens.add(conn, digest="d", project_id="p", name="n", actor="operator", now=NOW)


def _token_id(conn: Connection) -> str:
    return str(conn.execute("SELECT id FROM project_tokens WHERE name = 'n'").fetchone()[0])


_SESSION: SessionRow = {
    "id": "ses_1", "key_digest": "k", "role": "operator", "project_id": None, "actor": "", "read_only": False,
    "created_at": large.OLD, "expires_at": large.OLD, "ends_at": large.OLD,
}  # fmt: skip


def _many_sessions(conn: Connection) -> None:
    """Have as many sessions and used links as there are deliveries."""
    conn.execute(
        "INSERT INTO sessions SELECT id, id, 'k', 'operator', NULL, '', 0, ?1, ?1, ?1 FROM deliveries", (large.OLD,)
    )
    conn.execute("INSERT INTO used_links SELECT id, ? FROM deliveries", (large.OLD,))


def _many_keys(conn: Connection) -> None:
    conn.execute("INSERT INTO request_keys SELECT id, id, 0, '', '', ? FROM deliveries", (large.OLD,))


# Names are those of the storage's modules; a second kind of the same function has words behind its name.
CHANGES: dict[str, Kind] = {
    "webhooks.create": Kind(_created),
    "webhooks.get": Kind(lambda conn: webhooks.get(conn, BUSY)),
    "webhooks.update": Kind(lambda conn: webhooks.update(conn, BUSY, events=["lead.*"], secret="t" * 20, now=NOW)),
    "webhooks.update, of its template": Kind(
        lambda conn: webhooks.update(conn, BUSY, options={"template": '"{{ type }}"'}, now=NOW)
    ),
    "webhooks.enable": Kind(lambda conn: webhooks.enable(conn, OFF, discard_held=False, now=NOW)),
    "webhooks.enable, discarding": Kind(lambda conn: webhooks.enable(conn, OFF, discard_held=True, now=NOW)),
    "webhooks.disable": Kind(lambda conn: webhooks.disable(conn, BUSY, NOW)),
    "webhooks.delete": Kind(lambda conn: webhooks.delete(conn, BUSY, NOW)),
    "webhooks.request_test": Kind(lambda conn: webhooks.request_test(conn, BUSY, "lead.created", "{}", NOW)),
    "log.delivery": Kind(lambda conn: log.delivery(conn, A_DELIVERY)),
    "log.older_success": Kind(lambda conn: log.older_success(conn, "dlv_000000000001l", 20_000)),
    "log.attempt": Kind(lambda conn: log.attempt(conn, A_DELIVERY, 7)),
    "revisions.revision": Kind(revisions.revision),
    "rotation.start": Kind(
        lambda conn: rotation.start(conn, BUSY, secret="t" * 20, switch_at=NOW + DAY, actor="operator", now=NOW)
    ),
    "rotation.cancel": Kind(
        lambda conn: rotation.cancel(conn, BUSY, actor="operator", now=NOW),
        before=lambda conn: rotation.start(conn, BUSY, secret="t" * 20, switch_at=NOW + DAY, actor="o", now=NOW),
    ),
    "rotation.reveal": Kind(lambda conn: rotation.reveal(conn, BUSY, actor="operator", now=NOW)),
    "rotation.settle": Kind(lambda conn: rotation.settle(conn, NOW, LIMIT)),
    "sealed.check": Kind(sealed.check),
    "sealed.is_key_new": Kind(sealed.is_key_new),
    "sealed.reseal": Kind(lambda conn: sealed.reseal(conn, "", LIMIT), before=lambda conn: seals_of(conn).add_key()),
    "sealed.finish": Kind(sealed.finish),
    "resends.start": Kind(_begin_resend),
    "resends.cancel": Kind(lambda conn: resends.cancel(conn, TAIL, actor="operator", now=NOW)),
    "resends.cancel, of many webhooks": Kind(lambda conn: resends.cancel(conn, "rsd_wide", actor="operator", now=NOW)),
    "replays.start": Kind(_begin_replay()),
    "later_deliveries.send_to": Kind(
        lambda conn: later_deliveries.send_to(
            conn, "p", "evt_1", conn.execute("SELECT max(rowid), id FROM webhooks").fetchone()[1], NOW, actor="operator"
        ),
        before=_created,
    ),
    "imports.create": Kind(_import),
    "resend_steps.step, of a replay": Kind(_step_alone, before=_replay_alone()),
    "resend_steps.step, of a replay that matches nothing": Kind(_step_alone, before=_replay_alone("sprint.*")),
    "batch.write, of a claim of what a replay has made": Kind(_claim_of_replay, before=_replay_and_step),
    "resend_steps.under_way": Kind(resend_steps.under_way),
    "resend_steps.step": Kind(_three_steps),
    "resend_steps.step, of one that is large": Kind(
        lambda conn: resend_steps.step(conn, NOW, (RUNNING, "")),
    ),
    "resend_steps.step, while parts are made": Kind(_three_steps, before=_begin_resend),
    "resend_steps.step, at the end of a large one": Kind(
        lambda conn: resend_steps.step(conn, NOW),
        before=lambda conn: conn.execute("DELETE FROM resend_webhooks WHERE resend_id <> ?", (TAIL,)),
    ),
    "producers.add": Kind(lambda conn: producers.add(conn, digest="d", project_id=None, actor="operator", now=NOW)),
    "producers.revoke": Kind(lambda conn: producers.revoke(conn, "prod_1", actor="operator", now=NOW)),
    "project_tokens.add": Kind(
        lambda conn: project_tokens.add(conn, digest="d", project_id="p", name="n", actor="operator", now=NOW)
    ),
    "project_tokens.get": Kind(lambda conn: project_tokens.get(conn, _token_id(conn)), before=_token),
    "project_tokens.named": Kind(lambda conn: project_tokens.named(conn, "p", "n"), before=_token),
    "project_tokens.revoke": Kind(
        lambda conn: project_tokens.revoke(conn, _token_id(conn), actor="operator", now=NOW), before=_token
    ),
    "sessions.start": Kind(
        lambda conn: sessions.start(conn, {**_SESSION, "id": "ses_2"}, digest="e", replaces="ses_1"),
        before=lambda conn: sessions.start(conn, _SESSION, digest="d", replaces=None),
    ),
    "sessions.use_link": Kind(lambda conn: sessions.use_link(conn, "d", large.OLD)),
    "sessions.renew": Kind(
        lambda conn: sessions.renew(conn, "ses_1", clock.text(NOW)),
        before=lambda conn: sessions.start(conn, _SESSION, digest="d", replaces=None),
    ),
    "sessions.end": Kind(
        lambda conn: sessions.end(conn, "ses_1"),
        before=lambda conn: sessions.start(conn, _SESSION, digest="d", replaces=None),
    ),
    "sessions.Sweep": Kind(lambda conn: steps_of(sessions.Sweep(clock.text(NOW)), conn), before=_many_sessions),
    "request_keys.note": Kind(lambda conn: request_keys.note(conn, "operator", "k", KeyedRow(1, "r", "[]"), NOW)),
    "request_keys.forget_older": Kind(lambda conn: request_keys.forget_older(conn, "operator", 20)),
    "request_keys.take": Kind(
        lambda conn: request_keys.take(conn, A_DELIVERY, A_DELIVERY, NOW - KEYS_KEPT), before=_many_keys
    ),
    "request_keys.Sweep": Kind(lambda conn: steps_of(request_keys.Sweep(clock.text(NOW)), conn), before=_many_keys),
    "audit.note": Kind(lambda conn: audit.note(conn, "token.rotated", actor="operator", now=NOW, project_id="")),
}
