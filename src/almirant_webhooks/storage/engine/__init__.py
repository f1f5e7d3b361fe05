"""What a storage engine is to the rooms above it. `storage/sqlite` is one; nothing here knows which one there is."""

from __future__ import annotations

from .delivery import DeliveryStore, OutboxStore
from .errors import Busy, Damaged, Denied, Full, Lost, StorageError, TriggerFails, is_beyond_repair
from .sessions import Session, Worker
from .values import BEGIN, MAX_DELIVERIES, Asked, FanOut, LastEnd, Mark, Moved, OutboxRow, Place, Work, Written

__all__ = [
    "BEGIN",
    "MAX_DELIVERIES",
    "Asked",
    "Busy",
    "Damaged",
    "DeliveryStore",
    "Denied",
    "FanOut",
    "Full",
    "LastEnd",
    "Lost",
    "Mark",
    "Moved",
    "OutboxRow",
    "OutboxStore",
    "Place",
    "Session",
    "StorageError",
    "TriggerFails",
    "Work",
    "Worker",
    "Written",
    "is_beyond_repair",
]
