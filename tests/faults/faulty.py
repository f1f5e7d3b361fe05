"""A daemon with a fault of ours while it has a webhook's secrets in hand: the first word says where. Run as a script."""

from __future__ import annotations

import sys
from typing import Any

from almirant_webhooks import cli
from almirant_webhooks.sending import sender
from almirant_webhooks.storage.sql import claiming

WHERE = sys.argv.pop(1)


def fail(*given: Any, **named: Any) -> Any:
    raise ArithmeticError("a fault of ours")


if __name__ == "__main__":
    match WHERE:
        case "claim":
            vars(claiming)["secrets_at"] = fail
        case "prepare":
            vars(sender)["write"] = fail
        case "answer":
            sender.Sender._answered = fail  # type: ignore[method-assign]
    cli.main()
