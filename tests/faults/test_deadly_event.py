"""An event that ends whichever of three daemons sends it: each takes the projects over of the one before, and dies of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from ..conftest import Receiver
from ..support.daemons import Daemons

FRAGILE = (sys.executable, str(Path(__file__).with_name("fragile.py")))
DAEMONS = 3
DEADLY = "SELECT state, tries, attempts, next_attempt_at > now() + interval '50 minutes' FROM deliveries ORDER BY rowid LIMIT 1"
OTHERS = "SELECT count(*) FROM deliveries WHERE state = 'succeeded'"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_an_event_that_kills_daemons_does_not_kill_one_after_the_other_for_ever(
    daemons: Daemons, receiver: Receiver
) -> None:
    """Its first two interruptions are free, from the third on each waits its schedule; the rest flow."""
    daemons.options["delivery"] = {"retry_schedule": ["0s", "1h", "1h"]}
    daemons.webhook(receiver.url, project="p")
    daemons.send("p", '{"deadly": true}')
    processes = [await daemons.another(command=FRAGILE) for _ in range(DAEMONS)]
    deaths = 0
    while (daemons.ask(DEADLY) or (None,))[:3] != ("pending", 1, 3):
        for place, process in enumerate(processes):
            if process.returncode is not None:
                deaths += 1
                processes[place] = await daemons.another(command=FRAGILE)
        await asyncio.sleep(0.05)
    for _ in range(6):
        daemons.send("p")
    await daemons.until(lambda: daemons.ask(OTHERS) == (6,))
    assert daemons.ask(DEADLY) == ("pending", 1, 3, True)
    assert deaths == 3
    assert [process.returncode for process in processes] == [None] * DAEMONS
