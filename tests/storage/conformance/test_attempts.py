"""A delivery that was resent very often is read with its newest attempts, and any other by its number."""

from __future__ import annotations

from almirant_webhooks.model import Outcome, Result
from almirant_webhooks.rules.selection import Selection
from almirant_webhooks.storage.sql.log import MOST_ATTEMPTS

from .engines import START, Engine


def _resent(engine: Engine) -> tuple[str, int]:
    """Make a delivery that succeeded at once, and was resent in vain; return it, and how many attempts it has: the last is in flight."""
    webhook = engine.webhook()
    engine.insert()
    engine.take()
    (row,) = engine.reading.search.newest(engine.session, Selection(), limit=9)
    delivery_id, in_all = row["delivery_id"], MOST_ATTEMPTS + 3
    for outcome in (Outcome.SUCCESS, *[Outcome.HTTP_ERROR] * (in_all - 2)):
        (claim,) = engine.claim(webhook)
        engine.batch(START, results=[Result(claim, outcome, START, 5, response_body=b"an answer")])
        engine.resend(delivery_id)
    engine.claim(webhook)
    return delivery_id, in_all


def test_the_newest_attempts_of_very_many_are_read_and_each_older_one_by_its_number(engine: Engine) -> None:
    """Three more than are read at once, the newest in flight; one that there is not is none."""
    delivery_id, in_all = _resent(engine)
    log, session = engine.reading.log, engine.session
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


def test_a_success_that_is_older_than_what_is_read_is_found_by_itself(engine: Engine) -> None:
    """Nothing else of a succeeded delivery says with which status it arrived."""
    delivery_id, in_all = _resent(engine)
    log, session = engine.reading.log, engine.session
    found = log.older_success(session, delivery_id, in_all - MOST_ATTEMPTS + 1)
    assert found == log.attempt(session, delivery_id, 1)
    assert log.older_success(session, delivery_id, 1) is None
    assert log.older_success(session, delivery_id, 1002) is None, "a thousand are looked at"
    assert log.older_success(session, "dlv_none", 9) is None


def test_where_one_attempt_is_shown_its_answer_alone_is_read_and_those_that_tell_the_outcome(engine: Engine) -> None:
    """Fifty answers that a hostile receiver compressed take long to read."""
    delivery_id, in_all = _resent(engine)
    log, session = engine.reading.log, engine.session
    whole = log.delivery(session, delivery_id)["attempt_list"]
    assert {one["response_body"] for one in whole} == {"an answer", ""}, "the one in flight has none yet"
    for shown, answered in ((0, {in_all - 1}), (10, {10, in_all - 1}), (in_all - 1, {in_all - 1}), (2, {in_all - 1})):
        attempts = log.delivery(session, delivery_id, shown=shown)["attempt_list"]
        assert {one["number"] for one in attempts if one["response_body"]} == answered
        assert [{**one, "response_body": ""} for one in attempts] == [{**one, "response_body": ""} for one in whole]
