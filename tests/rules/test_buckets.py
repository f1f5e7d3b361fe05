"""How daemons share the projects."""

from __future__ import annotations

from collections import Counter

import pytest

from almirant_webhooks.rules.buckets import ALL, BUCKETS, allocate, bucket_of

NAMES = [f"dmn_{number:016x}" for number in range(70)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 32, 64])
def test_no_daemon_gets_more_than_an_equal_share(count: int) -> None:
    """And each bucket is somebody's."""
    shares = allocate(NAMES[:count])
    assert shares.keys() == ALL
    assert max(Counter(shares.values()).values()) == -(-BUCKETS // count)


def test_of_more_daemons_than_buckets_some_get_nothing() -> None:
    """They serve pages, and take over."""
    assert len(set(allocate(NAMES).values())) == BUCKETS


def test_all_daemons_find_the_same_shares() -> None:
    """In whatever order they read each other."""
    assert allocate(NAMES[:5]) == allocate(NAMES[4::-1])
    assert allocate([]) == {}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_buckets_move_when_a_daemon_joins(count: int) -> None:
    """Its own share, and not many more: in all no more than two shares and a bit."""
    before, after = allocate(NAMES[:count]), allocate(NAMES[: count + 1])
    moved = [bucket for bucket in ALL if before[bucket] != after[bucket]]
    assert len(moved) <= 2 * BUCKETS / (count + 1) + 4


def test_projects_are_spread_over_all_buckets() -> None:
    """As by chance."""
    counts = Counter(bucket_of(f"proj_{number}") for number in range(6400))
    assert len(counts) == BUCKETS
    assert max(counts.values()) < 160
