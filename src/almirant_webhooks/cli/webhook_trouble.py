"""What is wrong with a webhook, as a command prints it."""

from __future__ import annotations

from ..model import Ahead, Webhook
from ..rules import trouble
from ..settings.schema import Settings
from ..storage.engine import Session
from .database import READS


def words_of_trouble(
    conn: Session, webhook: Webhook, settings: Settings, *, ahead: Ahead | None, rate_limited: int
) -> str | None:
    """Return the sentences that its page begins with, None for a webhook that is well."""
    said = trouble.said(
        webhook,
        READS.summaries.trouble(conn, webhook.id),
        ahead=ahead,
        rate_limited=rate_limited,
        attempts_in_all=len(settings.delivery.retry_schedule),
    )
    return None if said is None else " ".join((said.title, *(line.words for line in said.lines)))
