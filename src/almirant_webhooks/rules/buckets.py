"""How daemons on one database share the projects: by buckets, of which each is one daemon's at a time."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from functools import lru_cache

BUCKETS = 64
ALL = frozenset(range(BUCKETS))


@lru_cache(maxsize=4096)
def bucket_of(project_id: str) -> int:
    """Return the bucket of a project. The function `outbox_bucket` in PostgreSQL is the same."""
    return hashlib.sha256(project_id.encode(errors="surrogateescape")).digest()[0] % BUCKETS


def allocate(members: Collection[str]) -> dict[int, str]:
    """Return which member is to have each bucket: equal shares, and few others once somebody joins or leaves.

    Each bucket goes to the member that is first by a hash of both and has room left. All that know of the same members find the
    same.
    """
    if not members:
        return {}
    most = -(-BUCKETS // len(members))
    taken: Counter[str] = Counter()
    shares: dict[int, str] = {}
    for bucket in sorted(ALL):
        ranked = sorted(members, key=lambda member: hashlib.sha256(f"{bucket} {member}".encode()).digest())
        shares[bucket] = next(member for member in ranked if taken[member] < most)
        taken[shares[bucket]] += 1
    return shares
