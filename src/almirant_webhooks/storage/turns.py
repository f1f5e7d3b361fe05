"""Which of the rows that wait in an outbox are read: projects take turns, and large payloads come a few at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from ..model import MAX_PAYLOAD_BYTES
from .engine import OutboxRow, ReadPlan

SMALL = 16 * 1024  # bytes of a payload up to which it is read together with the others
MOST_BYTES = 1024 * 1024  # of larger payloads in one read: more would keep the others waiting
FEW = 32  # rows: a project that has fewer waiting counts as one that has few


def next_rows(line: Sequence[tuple[str, list[int]]], plan: ReadPlan, most: int = 0) -> list[int]:
    """Return the ids of the rows to read, out of the oldest rows of each project in `line`, which begins with the next turn.

    Of a project that has fewer than `most` rows there the line has all. First come rows by turns of all projects. Behind them
    come as many as the plan says, at most, of projects that have a quarter of the longest line or less, the shortest line first;
    the plan is told of them. So neither kind starves the other, and what is cut off at the end has had no turn.
    """
    if not (most and plan.of_few):
        return list(round_robin((rows[: plan.limit(project)] for project, rows in line), plan.max_rows))
    lengths = [len(rows) if len(rows) < most else math.inf for _, rows in line]
    allowed = [rows[: plan.limit(project)] for project, rows in line]
    by_turns = set(round_robin(allowed, plan.max_rows - plan.of_few))
    short = max(lengths, default=0) / 4
    by_length = sorted(
        (length, rows) for length, rows in zip(lengths, allowed, strict=True) if length <= short and length < math.inf
    )
    of_few = list(islice((row for _, rows in by_length for row in rows if row not in by_turns), plan.of_few))
    plan.note_few(of_few)
    taken = set(of_few)
    others = ([row for row in rows if row not in taken] for rows in allowed)
    return [*round_robin(others, plan.max_rows - len(of_few)), *of_few]


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
