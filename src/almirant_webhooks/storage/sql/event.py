"""Events: the check of an outbox row, and the body of the requests."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import NamedTuple

from ...model import EVENT_ID_PATTERN, MAX_PAYLOAD_BYTES, PROJECT_ID_PATTERN, RESERVED_PROJECT
from ...rules.event_types import NOTICE_PREFIX, is_notice, is_well_formed
from ..engine import OutboxRow

_COLUMNS = ("event_id", "project_id", "event_type", "occurred_at", "payload")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_quoted = lru_cache(maxsize=4096)(json.dumps)


class Event(NamedTuple):
    """An event as its producer wrote it."""

    id: str
    project_id: str
    event_type: str
    occurred_at: str
    payload: str

    def body(self, occurred_at: str) -> str:
        """Return the request's body, which contains the payload byte for byte."""
        return (
            f'{{"id": "{self.id}", "type": "{self.event_type}", "timestamp": "{occurred_at}", '
            f'"projectId": {_quoted(self.project_id)}, "data": {self.payload}}}'
        )


def event_of(row: OutboxRow) -> Event | str:
    """Return the event of a row, or the reason to reject it: constraint checks may have been off at the INSERT."""
    if row.payload is None:
        return _too_large(row.size)
    texts = []
    for column, value in zip(_COLUMNS, (*row[1:5], row.payload), strict=True):
        try:
            text = value if isinstance(value, str) else value.decode(row.encoding)
        except UnicodeDecodeError as error:
            return f"{column} is not {row.encoding} (byte {error.start})"
        if "\0" in text:
            return f"{column} contains a NUL character"
        texts.append(text)
    event = Event(*texts)
    if len(event.payload) * 4 > MAX_PAYLOAD_BYTES and (size := len(event.payload.encode())) > MAX_PAYLOAD_BYTES:
        return _too_large(size)
    problem = _why_not(event.project_id, event.event_type)
    if problem is not None:
        return problem
    if not EVENT_ID_PATTERN.fullmatch(event.id):
        return "event_id must be 1 to 128 letters, digits, _, - or :"
    if not _TIME.fullmatch(event.occurred_at):
        return "occurred_at must be a UTC time written YYYY-MM-DDTHH:MM:SS.mmmZ"
    if not row.is_object:
        return "payload is not a JSON object"
    return event


def _too_large(size: int) -> str:
    return f"payload is larger than {MAX_PAYLOAD_BYTES // 1024} KiB ({size} bytes)"


@lru_cache(maxsize=4096)
def _why_not(project_id: str, event_type: str) -> str | None:
    if project_id == RESERVED_PROJECT:
        return f"project_id {RESERVED_PROJECT} is reserved for events about webhooks themselves"
    if not PROJECT_ID_PATTERN.fullmatch(project_id):
        return "project_id must be 1 to 128 printable ASCII characters without spaces"
    if not is_well_formed(event_type):
        return "event_type must be dotted lower-case words, at most 128 characters"
    if is_notice(event_type):
        return f"event_type begins with {NOTICE_PREFIX}, which is reserved for events about webhooks themselves"
    return None
