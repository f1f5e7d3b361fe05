# mypy: disable-error-code="no-any-return"
"""A client of the HTTP API, for programs in Python: typed, on the standard library alone (`docs/api.md`).

Its methods are the operations of `/openapi.json`, by their names. A list is followed over all its pages. Times are texts of
UTC, as `2026-01-31T09:30:00Z`. What JSON brings is taken for what the document says of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .http import ApiError, Caller, at, given

if TYPE_CHECKING:
    from typing import Unpack

    from ..model import Options, StartedRotation
    from ..rules.activity import Activity
    from ..rules.replays import ReplayCount
    from ..storage.engine import ProjectToken
    from ..storage.records import AuditEntry, Daemon, Resend
    from ..web.api import answers
    from .types import CreatedWebhook, Deliveries, EnabledWebhook, Entries, Events, Previewed, Replayed, Resent, Webhook

__all__ = ["ApiError", "Client"]


class Client:
    """Calls the API at an address (`http://127.0.0.1:8420`) with a token; any number of threads may share it.

    Each call is one request on a connection of its own, and waits `timeout` seconds at most for each part of the answer. It
    raises `ApiError` for a refusal and `OSError` or `http.client.HTTPException` where there was no answer: then the change
    may have been made or not. A POST that is made again with the same `idempotency_key` is carried out once; a change with
    `if_match`, the `etag` that a webhook was answered with, only if nobody has changed the webhook since.
    """

    def __init__(self, address: str, token: str, *, timeout: float = 30.0) -> None:
        self._caller = Caller(address, token, timeout)
        self._call, self._post = self._caller.call, self._caller.post

    def send_event(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        *,
        project_id: str | None = None,
        event_id: str | None = None,
        occurred_at: str | None = None,
        idempotency_key: str | None = None,
    ) -> answers.SentEvent:
        """Send an event; it is committed when this returns. With an `event_id` a repeated call sends it once."""
        body = given(project_id=project_id, event_id=event_id, occurred_at=occurred_at)
        return self._post("/events", {"event_type": event_type, "payload": payload, **body}, idempotency_key)

    def list_events(self, **which: Unpack[Events]) -> Iterator[answers.Event]:
        """Yield events, newest first."""
        yield from self._caller.pages("/events", which)

    def get_event(self, event_id: str, *, project: str | None = None) -> answers.EventDetails:
        """Return an event with its body, and what became of it at the first thousand webhooks."""
        return self._call("GET", at("events", event_id), query={"project": project})

    def send_event_to(
        self, event_id: str, webhook_id: str, *, project_id: str | None = None, idempotency_key: str | None = None
    ) -> answers.SentTo:
        """Send a kept event to a webhook that has no delivery of it."""
        body = {"webhook_id": webhook_id, **given(project_id=project_id)}
        return self._post(at("events", event_id, "send-to"), body, idempotency_key)

    def list_event_types(self) -> Iterator[answers.EventType]:
        """Yield the event types that webhooks can subscribe to."""
        yield from self._caller.pages("/event-types", {})

    def list_webhooks(self, *, project: str | None = None, enabled: bool | None = None) -> Iterator[Webhook]:
        """Yield webhooks, oldest first."""
        yield from self._caller.pages("/webhooks", {"project": project, "enabled": enabled})

    def create_webhook(
        self,
        url: str,
        events: Sequence[str],
        *,
        project_id: str | None = None,
        secret: str | None = None,
        description: str = "",
        idempotency_key: str | None = None,
        **options: Unpack[Options],
    ) -> CreatedWebhook:
        """Create a webhook; without a secret one is generated. The answer has it, this once."""
        body = {"url": url, "events": list(events), "description": description, **options}
        return self._post("/webhooks", {**body, **given(project_id=project_id, secret=secret)}, idempotency_key)

    def get_webhook(self, webhook_id: str) -> Webhook:
        """Return a webhook."""
        return self._call("GET", at("webhooks", webhook_id))

    def update_webhook(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        secret: str | None = None,
        description: str | None = None,
        if_match: str | None = None,
        **options: Unpack[Options],
    ) -> Webhook:
        """Change what is given; an option that is None is taken away."""
        body = {**given(url=url, events=events, secret=secret, description=description), **options}
        return self._call("PATCH", at("webhooks", webhook_id), body, if_match=if_match)

    def get_activity(self, *, project: str | None = None, span: str | None = None) -> Activity:
        """Return how the attempts of a project went in 1h, 24h, 7d or 30d."""
        return self._call("GET", "/activity", query={"project": project, "span": span})

    def get_webhook_activity(self, webhook_id: str, *, span: str | None = None) -> Activity:
        """Return how the attempts of a webhook went in 1h, 24h, 7d or 30d."""
        return self._call("GET", at("webhooks", webhook_id, "activity"), query={"span": span})

    def preview_webhook(
        self,
        webhook_id: str | None = None,
        *,
        project_id: str | None = None,
        events: Sequence[str] | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[Previewed],
    ) -> answers.Preview:
        """Return what a webhook would get of the newest events of its project, by options that are not saved yet."""
        body = {**given(webhook_id=webhook_id, project_id=project_id, events=events), **options}
        return self._post("/webhooks/preview", body, idempotency_key)

    def delete_webhook(self, webhook_id: str, *, if_match: str | None = None) -> None:
        """Delete a webhook with its delivery history, for good."""
        self._call("DELETE", at("webhooks", webhook_id), if_match=if_match)

    def enable_webhook(
        self,
        webhook_id: str,
        *,
        discard_held: bool = False,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> EnabledWebhook:
        """Enable a webhook: what was held goes out, or is discarded."""
        body = {"discard_held": discard_held}
        return self._post(at("webhooks", webhook_id, "enable"), body, idempotency_key, if_match)

    def disable_webhook(
        self, webhook_id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> Webhook:
        """Disable a webhook; its deliveries are held."""
        return self._post(at("webhooks", webhook_id, "disable"), {}, idempotency_key, if_match)

    def test_webhook(
        self, webhook_id: str, *, event_type: str | None = None, idempotency_key: str | None = None
    ) -> answers.Test:
        """Send a sample event to this webhook alone."""
        return self._post(at("webhooks", webhook_id, "test"), given(event_type=event_type), idempotency_key)

    def count_replay(self, webhook_id: str, since: str, **which: Unpack[Replayed]) -> ReplayCount:
        """Return how many kept events a replay would send."""
        body = {**given(**which), "since": since, "dry_run": True}
        return self._post(at("webhooks", webhook_id, "replay"), body)

    def replay_events(
        self, webhook_id: str, since: str, *, idempotency_key: str | None = None, **which: Unpack[Replayed]
    ) -> Resend:
        """Begin to send a webhook the kept events of a time that it has no delivery of."""
        return self._post(at("webhooks", webhook_id, "replay"), {**given(**which), "since": since}, idempotency_key)

    def rotate_secret(
        self,
        webhook_id: str,
        *,
        secret: str | None = None,
        switch_after: str | None = None,
        now: bool = False,
        cancel: bool = False,
        idempotency_key: str | None = None,
    ) -> StartedRotation | answers.CancelledRotation:
        """Begin a change to a new secret, bring it forward with `now`, or take it back with `cancel`."""
        body = given(secret=secret, switch_after=switch_after, now=now or None, cancel=cancel or None)
        return self._post(at("webhooks", webhook_id, "rotate-secret"), body, idempotency_key)

    def reveal_secret(self, webhook_id: str) -> answers.RevealedSecret:
        """Return the secret; it is written down who looked."""
        return self._call("GET", at("webhooks", webhook_id, "secret"))

    def list_deliveries(self, **which: Unpack[Deliveries]) -> Iterator[answers.Delivery]:
        """Yield deliveries, newest first."""
        yield from self._caller.pages("/deliveries", which)

    def get_delivery(self, delivery_id: str) -> answers.DeliveryDetails:
        """Return a delivery with its body and its newest 50 attempts, oldest first."""
        return self._call("GET", at("deliveries", delivery_id))

    def resend_delivery(self, delivery_id: str, *, idempotency_key: str | None = None) -> answers.Asked:
        """Ask for one more attempt."""
        return self._post(at("deliveries", delivery_id, "resend"), {}, idempotency_key)

    def count_resend(self, **which: Unpack[Resent]) -> answers.ResendCount:
        """Return how many deliveries a resend would send."""
        return self._post("/resends", {**which, "dry_run": True})

    def create_resend(self, *, idempotency_key: str | None = None, **which: Unpack[Resent]) -> Resend:
        """Begin to send many deliveries again."""
        return self._post("/resends", dict(which), idempotency_key)

    def list_resends(self, *, project: str | None = None) -> Iterator[Resend]:
        """Yield resends of many, newest first."""
        yield from self._caller.pages("/resends", {"project": project})

    def get_resend(self, resend_id: str) -> Resend:
        """Return how far a resend of many is."""
        return self._call("GET", at("resends", resend_id))

    def cancel_resend(self, resend_id: str, *, idempotency_key: str | None = None) -> Resend:
        """Send nothing more of a resend of many."""
        return self._post(at("resends", resend_id, "cancel"), {}, idempotency_key)

    def erase_event(
        self, event_id: str, *, project_id: str | None = None, idempotency_key: str | None = None
    ) -> answers.Erased:
        """Erase the content of an event; its record stays."""
        return self._post(at("events", event_id, "erase"), given(project_id=project_id), idempotency_key)

    def erase_events(
        self,
        search: str,
        *,
        project_id: str | None = None,
        since: str | None = None,
        idempotency_key: str | None = None,
    ) -> answers.Erased:
        """Erase the content of all events with a text in their bodies, look by look; return the sums."""
        body = {"search": search, **given(project_id=project_id, since=since)}
        total: answers.Erased = self._post("/events/erase", body, idempotency_key)
        while (cursor := total["next_cursor"]) is not None:
            # Each look is a request of its own, and so has a key of its own, the same when all of it is asked again.
            key = idempotency_key and f"{idempotency_key}:{cursor}"
            look: answers.Erased = self._post("/events/erase", {**body, "cursor": cursor}, key)
            look["events"] += total["events"]
            look["deliveries"] += total["deliveries"]
            look["outbox_rows"] += total["outbox_rows"]
            total = look
        return total

    def list_audit(self, **which: Unpack[Entries]) -> Iterator[AuditEntry]:
        """Yield who did what, newest first."""
        yield from self._caller.pages("/audit", which)

    def list_daemons(self) -> Iterator[Daemon]:
        """Yield the daemons that share the projects, and what each owns; none where the database is a file."""
        yield from self._caller.pages("/daemons", {})

    def create_token(
        self, *, project_id: str | None = None, name: str | None = None, idempotency_key: str | None = None
    ) -> answers.NewProjectToken:
        """Make an API token of a project; the answer has the token itself, this once."""
        return self._post("/tokens", given(project_id=project_id, name=name), idempotency_key)

    def list_tokens(self, *, project: str | None = None) -> Iterator[ProjectToken]:
        """Yield the API tokens of a project, or of all, never the tokens themselves."""
        yield from self._caller.pages("/tokens", {"project": project})

    def revoke_token(self, token_id: str) -> None:
        """Revoke an API token of a project: from then on it opens nothing."""
        self._call("DELETE", at("tokens", token_id))

    def create_portal_link(
        self,
        project_id: str,
        *,
        expires: str = "15m",
        actor: str | None = None,
        read_only: bool = False,
        next: str | None = None,  # noqa: A002  the name that the API has
        idempotency_key: str | None = None,
    ) -> answers.PortalLink:
        """Return a link that opens the pages of one project once: for whom it is, and which page it leads to."""
        body = {"project_id": project_id, "expires": expires, "read_only": read_only, **given(actor=actor, next=next)}
        return self._post("/portal-links", body, idempotency_key)

    def who_am_i(self) -> answers.Caller:
        """Return who the token is of."""
        return self._call("GET", "/whoami")
