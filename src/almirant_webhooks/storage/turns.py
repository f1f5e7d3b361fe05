"""Which of the rows that wait in an outbox are read: projects take turns, and large payloads come a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..model import MAX_PAYLOAD_BYTES
from .engine import OutboxRow

SMALL = 16 * 1024  # bytes of a payload up to which it is read together with the others
MOST_BYTES = 1024 * 1024  # of larger payloads in one read: more would keep the others waiting


def round_robin(line: Iterable[Iterable[int]], max_rows: int) -> Iterator[int]:
    """Yield at most `max_rows` rows: the first of each project, then the second of each, and so on."""
    waiting = [iter(ids) for ids in line]
    left = max_rows
    while waiting:
        still_waiting = []
        for rows in waiting:
            row = next(rows, None)
            if row is None:
                continue
            if not left:
                return
            left -= 1
            yield row
            still_waiting.append(rows)
        waiting = still_waiting


def with_large_payloads(
    rows: Iterable[OutboxRow], read: Callable[[list[int], int], list[OutboxRow]], bytes_each: int
) -> Iterator[OutboxRow]:
    """Yield rows with their payloads: of those that were left out for their size as many as fit; the others are read later."""
    bytes_left = MOST_BYTES
    for row in rows:
        if row.payload is not None or row.size > bytes_each * MAX_PAYLOAD_BYTES:
            yield row
        elif bytes_left > 0:
            bytes_left -= row.size
            yield from read([row.id], bytes_each * MAX_PAYLOAD_BYTES)
