"""How attempts went, as people are shown it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from ...rules.activity import Counted, Span
from .sessions import Session


class ActivityReads(Protocol):
    """Counts of attempts, never from the whole log; called on a session that reads."""

    def counted(self, session: Session, webhook_ids: Sequence[str], span: Span, now: datetime, /) -> Counted:
        """Return the counts of some webhooks together; it looks at 20,000 rows of failures at most."""
