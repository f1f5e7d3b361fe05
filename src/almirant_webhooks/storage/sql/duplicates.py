"""Rows of the outbox whose event is in the database already, or was erased."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...rules.erasing import ERASED_PAYLOAD, REASON
from ..engine import FanOut, Mark, OutboxRow
from .event import Event

_USED = "event_id is already used in this project with other content"


def is_same(event: Event, known: Sequence[Any]) -> bool:
    """Tell whether an event is the one of its id that is there: `known` is its type, time, body, and whether it was erased."""
    event_type, occurred_at, body, erased = known
    is_erased = bool(erased) or event.payload.startswith(ERASED_PAYLOAD)
    return is_erased or (event_type == event.event_type and body == event.body(occurred_at))


def take_again(result: FanOut, row: OutboxRow, event: Event, known: Sequence[Any] | None) -> None:
    """Answer a row whose event is there already: a duplicate if it is the same. Of an erased one nothing is left to compare.

    A row whose payload was erased makes no event, where there is none.
    """
    if known is None:
        result.marks.append(Mark(row, REASON))
        return
    is_erased = bool(known[3]) or event.payload.startswith(ERASED_PAYLOAD)
    same = is_same(event, known)
    result.swallowed += [row.id] * is_erased
    result.duplicates += same
    result.marks.append(Mark(row, None if same else _USED))
