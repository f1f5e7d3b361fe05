"""Figures on the outbox for metrics, `stats` and `doctor`. Nothing here writes."""

from __future__ import annotations

from datetime import datetime

from ..engine import OutboxFigures
from .connection import Session, reads
from .unread import NEXT, UNREAD

# Each project's first is one step in the index by project; of more than a thousand projects the others are not looked at.
_FIRST_UNREAD = f"""
WITH RECURSIVE line (bucket, project, number) AS (
    SELECT n.bucket, n.project, 1 FROM {NEXT.format(bucket="-1", project="''")} n
    UNION ALL
    SELECT n.bucket, n.project, number + 1
    FROM line CROSS JOIN LATERAL {NEXT.format(bucket="line.bucket", project="line.project")} n WHERE number < 1000)
SELECT min((SELECT min(id) FROM outbox WHERE {UNREAD}
    AND outbox_bucket(project_id) = line.bucket AND project_id = line.project)) FROM line
"""
_COUNT = "SELECT count(*) FROM (SELECT FROM outbox WHERE {} LIMIT 1000) v"


@reads
def outbox(session: Session, now: datetime) -> OutboxFigures:
    """Count the outbox's unread and rejected rows (1,000 at most), and tell the age of the first unread one.

    Its age is by its `occurred_at`, which is the producer's word.
    """
    unread = session.run(_COUNT.format(UNREAD))[0][0]
    rejected = session.run(_COUNT.format("rejected_reason IS NOT NULL"))[0][0]
    first = session.run(f"SELECT extract(epoch FROM %s - occurred_at) FROM outbox WHERE id = ({_FIRST_UNREAD})", now)
    age = max(0.0, float(first[0][0])) if first else 0.0
    return {"unread": unread, "rejected": rejected, "oldest_unread_seconds": round(age, 3)}


@reads
def unread_rows(session: Session) -> tuple[int | None, int]:
    """Return the id of the outbox's first unread row, if there is one, and that of its last row."""
    first = session.run(_FIRST_UNREAD)[0][0]
    return first, int(session.run("SELECT coalesce(max(id), 0) FROM outbox")[0][0])
