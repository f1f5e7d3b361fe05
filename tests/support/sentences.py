"""What a sentence of the rules tells of, apart from its words."""

from __future__ import annotations

from collections.abc import Iterator

from almirant_webhooks.rules.sentences import At, DeliveryId
from almirant_webhooks.rules.texts import Text


def marked(sentence: Text) -> Iterator[At | DeliveryId]:
    """Yield the times and deliveries that a sentence tells of, in its order."""
    for part in sentence.parts.values():
        if isinstance(part, Text):
            yield from marked(part)
        elif isinstance(part, At | DeliveryId):
            yield part
