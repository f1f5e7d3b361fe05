"""Reads rows of the outbox that wait. Never by a watermark on `id`: rows commit late and out of order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...model import MAX_PAYLOAD_BYTES
from ...rules.buckets import ALL, bucket_of
from ..engine import OutboxRow, ReadPlan
from ..turns import SMALL, with_large_payloads
from .connection import Session, within

Line = list[tuple[str, list[int]]]  # the projects whose turn it is, with the oldest rows of each

MAX_TEXT = 1024
UNREAD = "fanned_out_at IS NULL AND rejected_reason IS NULL"
# The same of rows whose ids are known, in words that no index has: without statistics the planner takes the index of all rows
# that wait for a short one, and would read the whole of it for each of them.
IS_UNREAD = "num_nonnulls(fanned_out_at, rejected_reason) = 0"
# A time as the contract writes it, however the session shows times.
TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
OCCURRED_AT = TIME.format("occurred_at")
# The project behind one, by their buckets: a step in the index `outbox_unread`, however many rows a project has.
NEXT = f"""(
    SELECT outbox_bucket(project_id) AS bucket, project_id AS project FROM outbox
    WHERE {UNREAD} AND (outbox_bucket(project_id), project_id) > ({{bucket}}, {{project}}) ORDER BY 1, 2 LIMIT 1)"""
_OWNED = "{}.bucket = ANY(%(owned)s::int[])"


def _walk(name: str, bucket: str, project: str, condition: str = "true") -> str:
    """Return a recursive query of the projects behind one. Buckets of other daemons are passed in a step for each run of them."""
    is_owned = _OWNED.format(name)
    bucket_then = f"CASE WHEN {is_owned} THEN {name}.bucket ELSE (SELECT min(o) FROM unnest(%(owned)s::int[]) o WHERE o > {name}.bucket) END"
    project_then = f"CASE WHEN {is_owned} THEN {name}.project ELSE '' END"
    count = f"({_OWNED.format('n')})::int"
    return f"""
{name} (bucket, project, number) AS (
    SELECT n.bucket, n.project, {count} FROM {NEXT.format(bucket=bucket, project=project)} n
    UNION ALL
    SELECT n.bucket, n.project, number + {count}
    FROM {name} CROSS JOIN LATERAL {NEXT.format(bucket=bucket_then, project=project_then)} n
    WHERE number < %(projects)s AND {condition})"""


# The next projects that have something, from the one behind `after` on and around.
_WAITING = f"""
WITH RECURSIVE {_walk("behind", "%(bucket)s", "%(after)s")},
{_walk("around", "-1", "''", "(around.bucket, around.project) < (%(bucket)s, %(after)s)")},
line (bucket, project, part, number) AS MATERIALIZED (
    SELECT bucket, project, 1, number FROM behind WHERE {_OWNED.format("behind")}
    UNION ALL
    SELECT bucket, project, 2, number FROM around
    WHERE {_OWNED.format("around")} AND (bucket, project) <= (%(bucket)s, %(after)s)
    ORDER BY 3, 4 LIMIT %(projects)s)
SELECT project, ARRAY(
    SELECT id FROM outbox WHERE outbox_bucket(project_id) = line.bucket AND project_id = line.project AND {UNREAD}
    AND id <> ALL(%(excluded)s::bigint[])
    ORDER BY id LIMIT greatest(1, %(ids)s / (SELECT count(*) FROM line)))
FROM line ORDER BY part, number
"""
_ROWS = f"""
SELECT o.id, left(event_id, {MAX_TEXT}), left(project_id, {MAX_TEXT}), left(event_type, {MAX_TEXT}), coalesce({OCCURRED_AT}, ''),
       octet_length(payload), CASE WHEN octet_length(payload) <= %s THEN payload END,
       CASE WHEN octet_length(payload) <= {MAX_PAYLOAD_BYTES} THEN outbox_is_object(payload) ELSE false END, 'UTF-8', o.xmin::text
FROM unnest(%s::bigint[]) WITH ORDINALITY v (id, place) JOIN outbox o ON o.id = v.id WHERE {IS_UNREAD} ORDER BY place
"""
# Rows that an application holds locked are left for later: waiting for them would keep everything waiting.
_ROWS_LOCKED = f"{_ROWS} FOR NO KEY UPDATE OF o SKIP LOCKED"
_FREE = "SELECT id FROM outbox WHERE id = ANY(%s) FOR NO KEY UPDATE SKIP LOCKED"


def line(session: Session, plan: ReadPlan, owned: Collection[int] = ALL, ahead: int = 0) -> Line:
    """Return the projects whose turn it is, with the oldest rows of each, but for those that the plan excludes.

    They are of the buckets that are `owned`, twice as many rows as projects at most, or as many as `ahead` if that is more.
    """
    after, projects = plan.after.replace("\0", ""), plan.projects or plan.max_rows
    values = {
        "bucket": bucket_of(after) if after else -1,
        "after": after,
        "owned": list(owned),
        "projects": projects,
        "ids": max(2 * projects, ahead),
        "excluded": list(plan.excluded),
    }
    with within(session, 0.0):
        return [(project, ids) for project, ids in session.conn.execute(_WAITING, values)]


def rows(session: Session, ids: Sequence[int]) -> list[OutboxRow]:
    """Return rows that still wait, in the order of their ids here, with about 1 MiB of payloads larger than 16 KiB."""
    return _read(session, _ROWS, ids)[0]


def lock(session: Session, ids: Sequence[int]) -> tuple[list[OutboxRow], set[int]]:
    """Return the same rows, which are locked for the transaction, and the ids of those that others have locked or deleted."""
    return _read(session, _ROWS_LOCKED, ids)


def free(session: Session, ids: Collection[int]) -> set[int]:
    """Return the ids of rows that no other transaction has locked; they are locked for this one."""
    return {row[0] for row in session.run(_FREE, list(ids))}


def _read(session: Session, query: str, ids: Sequence[int]) -> tuple[list[OutboxRow], set[int]]:
    def read(some: Sequence[int], max_bytes: int) -> list[OutboxRow]:
        return [OutboxRow(*fields) for fields in session.run(query, max_bytes, list(some))]

    with within(session, 0.0):
        found = read(ids, SMALL) if ids else []
        return list(with_large_payloads(found, read, 1)), set(ids) - {row.id for row in found}
