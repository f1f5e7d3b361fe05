"""A delivery that was resent very often is read with its newest attempts, and any other by its number."""

from __future__ import annotations

from almirant_webhooks.model import Outcome
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql.log import MOST_ATTEMPTS

from .engines import Engine


def test_the_newest_attempts_of_very_many_are_read_and_each_older_one_by_its_number(engine: Engine) -> None:
    """Three more than are read at once, the newest in flight; one that there is not is none."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    log, session = engine.reading.log, engine.session
    (row,) = engine.reading.search.newest(session, Selection(), limit=9)
    delivery_id, in_all = row["delivery_id"], MOST_ATTEMPTS + 3
    engine.record(engine.claim(webhook), Outcome.SUCCESS)
    for _ in range(in_all - 2):
        engine.resend(delivery_id)
        engine.record(engine.claim(webhook), Outcome.HTTP_ERROR)
    engine.resend(delivery_id)
    engine.claim(webhook)
    shown = log.delivery(session, delivery_id)
    assert [one["number"] for one in shown["attempt_list"]] == [*range(4, in_all + 1)]
    assert [one["outcome"] for one in shown["attempt_list"][-2:]] == [Outcome.HTTP_ERROR, None]
    assert (shown["attempts"], shown["state"]) == (in_all - 1, "succeeded")
    older = [log.attempt(session, delivery_id, number) for number in (1, 2, 3)]
    assert [one and (one["number"], one["outcome"]) for one in older] == [(1, "success"), (2, "http_error"), (3, "http_error")]  # fmt: skip
    newest = shown["attempt_list"][-1]
    assert dict(newest["request_headers"])["webhook-id"] == delivery_id
    assert log.attempt(session, delivery_id, in_all) == newest
    assert log.attempt(session, delivery_id, in_all + 1) is None
