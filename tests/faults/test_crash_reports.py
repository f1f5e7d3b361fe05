"""What a fault of ours leaves in the log: where it was, and nothing of the secrets that the code had in hand."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from almirant_webhooks import clock
from almirant_webhooks.storage.sql import rotation

from ..conftest import Receiver
from ..support.service import SECRET, Service
from .process import DaemonProcess

FAULTY = str(Path(__file__).with_name("faulty.py"))
NEXT = "the-next-secret-that-nobody-finds"
TOKEN = "a-token-that-nobody-finds"
# What each of them may be written as: as it is, or by the bytes that signatures have for their key.
SECRETS = (SECRET, SECRET.removeprefix("whsec_"), "secret-of-thirty-two", NEXT, TOKEN)


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("where", ["claim", "prepare", "answer"])
async def test_a_fault_of_ours_says_where_it_was_and_no_secret(
    service: Service, receiver: Receiver, where: str, style: str
) -> None:
    """In the sender, which goes on, and in the database's thread, which ends the daemon."""
    service.options["log"] = {"format": style, "level": "debug"}
    service.migrate()
    webhook = service.webhook(receiver.url, headers={"Authorization": f"Bearer {TOKEN}"})
    now = clock.now()
    tomorrow = now + timedelta(days=1)
    service.write(rotation.start, webhook.id, secret=NEXT, switch_at=tomorrow, actor="operator", now=now)
    service.insert()
    daemon = DaemonProcess(service, command=(sys.executable, FAULTY, where))
    daemon.start()
    try:
        if where == "claim":
            await service.until(lambda: daemon.died() is not None)
        else:
            await service.until(lambda: service.log(status="interrupted"))
        code = daemon.died() if where == "claim" else daemon.stop()
    finally:
        daemon.close()
    said = daemon.log.read_text()
    assert code == (1 if where == "claim" else 0), said
    assert "Traceback" in said
    assert "a fault of ours" in said
    assert [secret for secret in SECRETS if secret in said] == []
