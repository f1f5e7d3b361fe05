"""What people look at, but for what each engine does in its own way; most parts are modules."""

from __future__ import annotations

from .. import engine
from . import (
    activity,
    audit,
    deliveries,
    health,
    log,
    producers,
    project_tokens,
    request_keys,
    resends,
    retention,
    rotation,
    sealed,
    search,
    sessions,
    starts,
    summaries,
    webhooks,
)


class SharedReadingStore:
    """Offers the modules of this room under the names of the protocol."""

    search: engine.DeliverySearch = search
    log: engine.Log = log
    webhooks: engine.WebhookReads = webhooks
    summaries: engine.Summaries = summaries
    activity: engine.ActivityReads = activity
    rates: engine.RateReads = starts
    secrets: engine.SecretChanges = rotation
    sealed: engine.SealedReads = sealed
    tokens: engine.TokenReads = producers
    project_tokens: engine.ProjectTokenReads = project_tokens
    sessions: engine.SessionReads = sessions
    request_keys: engine.RequestKeyReads = request_keys
    audit: engine.AuditReads = audit
    resends: engine.ResendReads = resends
    deliveries: engine.DeliveryReads = deliveries
    health: engine.HealthReads = health
    retention: engine.RetentionReads = retention
