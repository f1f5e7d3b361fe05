"""Reports attempts: metrics for all, and a log line for each that failed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import structlog

from ..model import Outcome, Result
from ..ops.metrics import Metrics
from ..rules.signing import host

log = structlog.get_logger("almirant_webhooks")


def report(
    results: Sequence[Result],
    metrics: Metrics,
    gone: Sequence[str] = (),
    unopenable: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Count and log results; successes are logged at `debug` only.

    `gone` are deliveries whose event was deleted by hand, and `unopenable` webhooks that were disabled, each with the reason.
    """
    for webhook, why in unopenable.items():
        log.error("webhook disabled", webhook_id=webhook, why=why)
    for delivery in gone:
        log.warning("delivery cancelled: its event is gone from the database", delivery_id=delivery)
    for outcome, count in Counter([result.outcome for result in results]).items():
        metrics.attempts.labels(outcome.value).inc(count)
    debug = log.is_enabled_for(logging.DEBUG)
    for result in results:
        metrics.duration.observe(result.duration_ms / 1000)
        succeeded = result.outcome is Outcome.SUCCESS
        if succeeded and not debug:
            continue
        (log.debug if succeeded else log.warning)(
            "attempt succeeded" if succeeded else "attempt failed",
            delivery_id=result.claim.delivery_id,
            webhook_id=result.claim.webhook_id,
            host=host(result.claim.url),
            number=result.claim.number,
            trigger=result.claim.trigger.value,
            outcome=result.outcome.value,
            status_code=result.status_code,
            cause=result.cause,
            duration_ms=result.duration_ms,
        )


def report_problem(previous: str | None, reason: str | None) -> str | None:
    """Log once that an outage or a shortage of ours has begun, and once that it is over; return the current reason."""
    if reason is not None and reason != previous:
        log.error("trouble of our own", why=reason)
    elif reason is None and previous is not None:
        log.info("trouble of our own is over", why=previous)
    return reason
