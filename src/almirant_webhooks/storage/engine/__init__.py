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
    HealthChange,
    ObservingStore,
    PruningStore,
    ResendingStore,
    ResendPlace,
    ResendStep,
    Walk,
)
from .values import BEGIN, MAX_DELIVERIES, FanOut, LastEnd, Mark, Moved, OutboxRow, Place, ReadPlan, Work, WrittenBatch

__all__ = [
    "BEGIN",
    "FIRST_RESEND",
    "MAX_DELIVERIES",
    "NOTICED_AT_ONCE",
    "ActionStore",
    "AuditTrail",
    "Busy",
    "Damaged",
    "Deliveries",
    "DeliveryStore",
    "Denied",
    "EventInserts",
    "FanOut",
    "Full",
    "HealthChange",
    "HeldDeliveries",
    "Installation",
    "LastEnd",
    "Lost",
    "Mark",
    "Moved",
    "ObservingStore",
    "OutboxRow",
    "OutboxStore",
    "Place",
    "ProducerTokens",
    "Projects",
    "PruningStore",
    "ReadPlan",
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
    "WrittenBatch",
    "is_beyond_repair",
]
