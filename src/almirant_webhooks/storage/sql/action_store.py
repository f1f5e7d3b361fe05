"""What people's actions need, but for what each engine does in its own way; most parts are modules."""

from __future__ import annotations

from .. import engine
from . import (
    audit,
    deliveries,
    erasing,
    held,
    imports,
    later_deliveries,
    previews,
    producers,
    project_tokens,
    replays,
    request_keys,
    resends,
    rotation,
    sealed,
    sessions,
    summaries,
    webhooks,
)


class SharedActionStore:
    """Offers the modules of this room under the names of the protocol."""

    webhooks: engine.Webhooks = webhooks
    held: engine.HeldDeliveries = held
    secrets: engine.WebhookSecrets = rotation
    sealed: engine.SealedValues = sealed
    deliveries: engine.Deliveries = deliveries
    resends: engine.Resends = resends
    replays: engine.Replays = replays
    later: engine.LaterDeliveries = later_deliveries
    imports: engine.Imports = imports
    projects: engine.Projects = summaries
    tokens: engine.ProducerTokens = producers
    project_tokens: engine.ProjectTokens = project_tokens
    sessions: engine.Sessions = sessions
    request_keys: engine.RequestKeys = request_keys
    audit: engine.AuditTrail = audit
    erasing: engine.Erasing = erasing
    previews: engine.Previews = previews
