"""Bugs that can be put into daemons that share a database: each function puts one in for the length of a test."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.delivery.rate_limits import RateLimits
from almirant_webhooks.storage.engine import OutboxRow, ReadPlan
from almirant_webhooks.storage.postgres import lease, share
from almirant_webhooks.storage.postgres.daemons import LEASE
from almirant_webhooks.storage.postgres.in_database import Inside
from almirant_webhooks.storage.postgres.lease import Lease, Signs
from almirant_webhooks.storage.postgres.share import Share

Bug = Callable[[pytest.MonkeyPatch], None]


def program_with(bug: Bug) -> tuple[str, ...]:
    """Return the command of a process that has a bug of this module."""
    return sys.executable, str(Path(__file__).with_name("careless_daemons.py")), bug.__name__


def has_no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Share, "fenced", lambda self, session: None)


def gives_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not look whether anything is under way in the buckets that it gives."""
    monkeypatch.setattr(share, "_IN_FLIGHT", "SELECT '', '' LIMIT 0")


def reads_behind_the_largest_id(monkeypatch: pytest.MonkeyPatch) -> None:
    true, reached = Inside.read, dict[Inside, int]()  # of each daemon of this process

    def read(self: Inside, session: Any, plan: ReadPlan, /) -> Sequence[OutboxRow]:
        rows = [row for row in true(self, session, plan) if row.id > reached.get(self, 0)]
        reached[self] = max([reached.get(self, 0), *(row.id for row in rows)])
        return rows

    monkeypatch.setattr(Inside, "read", read)


def is_alive_without_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is alive whether it can deliver or not."""
    monkeypatch.setattr(Lease, "deliver_by", lambda self, session: None)


def leaves_open_what_the_dead_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes a bucket does not end the attempts that are under way there."""
    monkeypatch.setattr(share, "interrupt_open", lambda *of: 0)


def takes_who_is_late_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second without a sign is enough."""
    monkeypatch.setattr(lease, "LEASE", 1.0)
    monkeypatch.setattr(Lease, "is_alive", lambda self: self.seconds() < self._alive_until + 4.0)


def sends_without_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not look before a request whether somebody may have taken it for gone."""
    monkeypatch.setattr(Lease, "is_alive", lambda self: True)


def takes_without_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others have begun does not count for a rate limit."""
    fill = RateLimits.fill
    monkeypatch.setattr(RateLimits, "fill", lambda self, webhook, rate, starts: fill(self, webhook, rate, ()))


def counts_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it gets back it counts on as if nobody had had it meanwhile."""
    monkeypatch.setattr(RateLimits, "begin_anew", lambda self, held: None)


def has_a_lease_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compares others' signs, which are times, with its own clock."""

    def look(self: Signs, signs: Mapping[str, str], now: float) -> dict[str, str]:
        return {daemon: sign for daemon, sign in signs.items() if float(sign) < time.time() - LEASE}

    monkeypatch.setattr(Signs, "look", look)
