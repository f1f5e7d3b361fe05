"""How free slots are shared out, as a pure function of what is due and in flight."""

from __future__ import annotations

from almirant_webhooks.fairness import Room, Shares
from almirant_webhooks.model import Due

AT = "2026-11-25T00:00:00.000Z"
NOW = Due(AT, "proj_1")


def test_many_that_turn_slow_all_at_once_do_not_take_every_slot() -> None:
    """Quick until now, so nothing holds them back: an eighth is left for webhooks that have nothing in flight."""
    shares = Shares(256, 8)
    bad = {f"bad{number}": NOW for number in range(100)}
    for webhook in bad:
        shares.begin(webhook)
        shares.end(webhook, timed_out=False, duration_ms=5)
    shares.replace_due(bad)
    taken = shares.share_out(AT, Room(shares, 256))
    assert sum(taken.values()) == 224
    for webhook, count in taken.items():
        for _ in range(count):
            shares.begin(webhook)
    assert shares.share_out(AT, Room(shares, 256)) == {}
    shares.update_due({"good"}, {"good": NOW})
    assert shares.share_out(AT, Room(shares, 256)) == {"good": 1}


def test_one_webhook_has_its_own_limit_whatever_is_left_for_others() -> None:
    """Where slots are many."""
    shares = Shares(256, 8)
    shares.begin("only")
    shares.end("only", timed_out=False, duration_ms=5)
    shares.replace_due({"only": NOW})
    assert shares.share_out(AT, Room(shares, 256)) == {"only": 8}


def test_some_can_be_left_out() -> None:
    """Those that were lost in what looks like an outage."""
    shares = Shares(256, 8)
    shares.replace_due({"lost": NOW, "other": NOW})
    assert shares.share_out(AT, Room(shares, 256), apart_from={"lost"}) == {"other": 2}


def test_a_project_with_many_busy_webhooks_is_one_among_the_others() -> None:
    """Its hundred backlogs do not make another project wait a hundred times as long."""
    shares = Shares(256, 8)
    shares.replace_due({f"busy{number}": Due(AT, "busy") for number in range(100)} | {"good": Due(AT, "good")})
    taken = shares.share_out(AT, Room(shares, 4))
    assert taken == {"busy0": 1, "good": 2, "busy1": 1}
    for webhook in ("busy0", "good"):
        shares.begin(webhook)
    assert next(iter(shares.share_out(AT, Room(shares, 1)))) == "busy1"


def test_who_waited_longest_comes_first() -> None:
    """One that had nothing due for a moment keeps its place before those that had their turn since."""
    shares = Shares(256, 8)
    shares.replace_due({name: Due(AT, name) for name in ("seldom", "busy", "busier")})
    shares.begin("seldom")
    shares.update_due({"seldom"}, {})
    shares.begin("busy")
    shares.begin("busier")
    shares.update_due({"seldom"}, {"seldom": Due(AT, "seldom")})
    assert list(shares.share_out(AT, Room(shares, 3))) == ["seldom", "busy", "busier"]


def test_no_more_is_looked_at_than_there_are_slots() -> None:
    """Of ten thousand webhooks with something due the first few are asked for."""
    shares = Shares(256, 8)
    shares.replace_due({f"{number}": Due(AT, f"proj_{number % 100}") for number in range(10_000)})
    assert list(shares.share_out(AT, Room(shares, 3)).items()) == [("0", 1), ("1", 1), ("2", 1)]
