"""What a storage engine is to the rooms above it. `storage/sqlite` is one; nothing here knows which one there is."""

from __future__ import annotations

from .actions import (
    ActionStore,
    AuditTrail,
    Deliveries,
    EventInserts,
    HeldDeliveries,
    Installation,
    ProducerTokens,
    Projects,
    Resends,
    Webhooks,
    WebhookSecrets,
)
from .delivery import DeliveryStore, OutboxStore
from .errors import Busy, Damaged, Denied, Full, Lost, StorageError, TriggerFails, is_beyond_repair
from .sessions import Session, Worker
from .upkeep import (
    FIRST_RESEND,
    NOTICED_AT_ONCE,
    News,
    ObservingStore,
    PruningStore,
    ResendingStore,
    ResendPlace,
    ResendStep,
    Walk,
)
from .values import BEGIN, MAX_DELIVERIES, Asked, FanOut, LastEnd, Mark, Moved, OutboxRow, Place, Work, Written

__all__ = [
    "BEGIN",
    "FIRST_RESEND",
    "MAX_DELIVERIES",
    "NOTICED_AT_ONCE",
    "ActionStore",
    "Asked",
    "AuditTrail",
    "Busy",
    "Damaged",
    "Deliveries",
    "DeliveryStore",
    "Denied",
    "EventInserts",
    "FanOut",
    "Full",
    "HeldDeliveries",
    "Installation",
    "LastEnd",
    "Lost",
    "Mark",
    "Moved",
    "News",
    "ObservingStore",
    "OutboxRow",
    "OutboxStore",
    "Place",
    "ProducerTokens",
    "Projects",
    "PruningStore",
    "ResendPlace",
    "ResendStep",
    "ResendingStore",
    "Resends",
    "Session",
    "StorageError",
    "TriggerFails",
    "Walk",
    "WebhookSecrets",
    "Webhooks",
    "Work",
    "Worker",
    "Written",
    "is_beyond_repair",
]
