"""How free slots are shared out, as a pure function of what is due and in flight."""

from __future__ import annotations

from almirant_webhooks.fairness import Shares

NOW = "2026-11-25T00:00:00.000Z"


def test_many_that_turn_slow_all_at_once_do_not_take_every_slot() -> None:
    """Quick until now, so nothing holds them back: an eighth is left for webhooks that have nothing in flight."""
    shares = Shares(256, 8)
    bad = {f"bad{number}": NOW for number in range(100)}
    for webhook in bad:
        shares.begin(webhook)
        shares.end(webhook, timed_out=False, duration_ms=5)
    shares.replace_due(bad)
    taken = shares.share_out(NOW, 256)
    assert sum(taken.values()) == 224
    for webhook, count in taken.items():
        for _ in range(count):
            shares.begin(webhook)
    assert shares.share_out(NOW, 256) == {}
    shares.update_due({"good"}, {"good": NOW})
    assert shares.share_out(NOW, 256) == {"good": 1}


def test_one_webhook_has_its_own_limit_whatever_is_left_for_others() -> None:
    """Where slots are many."""
    shares = Shares(256, 8)
    shares.begin("only")
    shares.end("only", timed_out=False, duration_ms=5)
    shares.replace_due({"only": NOW})
    assert shares.share_out(NOW, 256) == {"only": 8}


def test_some_can_be_left_out() -> None:
    """Those that were lost in what looks like an outage."""
    shares = Shares(256, 8)
    shares.replace_due({"lost": NOW, "other": NOW})
    assert shares.share_out(NOW, 256, apart_from={"lost"}) == {"other": 2}
