"""The daemons on a database, for people to read, and how much room it takes; and the buckets that somebody deleted."""

from __future__ import annotations

from ...rules.buckets import BUCKETS
from ..records import Daemon
from .connection import Session, reads

LEASE = 5.0  # seconds without a sign of life after which a daemon is gone
_ALIVE = "seen_at > clock_timestamp() - make_interval(secs => %s)"
_LISTED = f"""
WITH projects (bucket, number) AS MATERIALIZED (
    SELECT outbox_bucket(project_id), count(DISTINCT project_id) FROM webhooks WHERE deleted_at IS NULL GROUP BY 1)
SELECT d.id, d.name, d.joined_at, count(b.number), coalesce(sum(p.number), 0)::bigint
FROM daemons d LEFT JOIN buckets b ON b.daemon_id = d.id LEFT JOIN projects p ON p.bucket = b.number
WHERE {_ALIVE} GROUP BY d.id ORDER BY d.joined_at, d.id LIMIT 1000
"""
_WITHOUT_KEY = f"""
SELECT name FROM daemons WHERE {_ALIVE} AND NOT coalesce(%s = ANY (string_to_array(key_ids, ' ')), false) ORDER BY joined_at, id
"""
_KEYS = f"SELECT key_ids, (SELECT split_part(seal_check, ':', 3) FROM database_meta) FROM daemons WHERE {_ALIVE}"
_IS_ONE_THERE = f"SELECT EXISTS (SELECT FROM daemons WHERE {_ALIVE}), current_setting('transaction_read_only')::boolean"
_MISSING = "SELECT count(*) FROM generate_series(0, %s) n WHERE n NOT IN (SELECT number FROM buckets)"
# Who had such a bucket may be sending still.
_RESTORE = """
INSERT INTO buckets (number, ordered_from) SELECT n, (
    SELECT clock_timestamp() + make_interval(secs => %s + max(request_seconds)) FROM daemons)
FROM generate_series(0, %s) n ON CONFLICT DO NOTHING
"""
# And takes the bucket for its own until it reads again what it has.
_READ_AGAIN = "UPDATE daemon_batches SET changes = changes + 1"
_BYTES = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_catalog.pg_class c
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind = 'r'
"""


@reads
def listed(session: Session) -> list[Daemon]:
    """Return the daemons that are alive, and how many buckets, and projects with a webhook, each owns."""
    return [
        {"id": id_, "name": name, "since": since, "buckets": buckets, "projects": projects}
        for id_, name, since, buckets, projects in session.run(_LISTED, LEASE)
    ]


@reads
def without_key(session: Session, key_id: str) -> list[str]:
    """Return the names of those that are alive and have not read the key of this id, those of the release before too."""
    return [str(name) for (name,) in session.run(_WITHOUT_KEY, LEASE, key_id)]


@reads
def keys_of_all(session: Session) -> frozenset[str]:
    """Return the ids of the keys that each daemon that is alive has read; none where there is no daemon.

    If one does not say so, as those of the release before, it is the key of the last time that all was sealed: it began with that.
    """
    rows = session.run(_KEYS, LEASE)
    read = [frozenset(str(ids or "").split()) for ids, _ in rows]
    common = frozenset.intersection(*read) if read else frozenset[str]()
    return common or frozenset(str(proved_by) for _, proved_by in rows if proved_by)


@reads
def is_one_there(session: Session) -> bool | None:
    """Tell whether a daemon is alive; None where none can say so, as the server is read-only."""
    is_there, is_read_only = session.run(_IS_ONE_THERE, LEASE)[0]
    return None if is_read_only and not is_there else bool(is_there)


@reads
def bytes_used(session: Session) -> int:
    """Return the bytes of our tables and their indexes."""
    return int(session.run(_BYTES, session.place.schema)[0][0])


@reads
def missing_buckets(session: Session) -> int:
    """Return how many buckets have no row: nobody can take them, and nothing is delivered for their projects."""
    return int(session.run(_MISSING, BUCKETS - 1)[0][0])


def restore_buckets(session: Session) -> int:
    """Put the rows of missing buckets back, inside a transaction of a writer's; return how many there were."""
    restored = session.count(_RESTORE, LEASE, BUCKETS - 1)
    if restored:
        session.run(_READ_AGAIN)
    return restored
