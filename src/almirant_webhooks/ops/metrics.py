"""Counters and gauges for Prometheus; no label names a project, a webhook or a URL."""

from __future__ import annotations

import math
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..model import Outcome
from . import logs

PREFIX = "almirant_webhooks"


class Metrics:
    """The daemon's counters and gauges since its start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = self._counter("events_taken", "Events taken from the outbox.")
        self.duplicates = self._counter("events_duplicate", "Outbox rows whose event was there already.")
        self.rejected = self._counter("events_rejected", "Outbox rows that cannot be sent.")
        self.unmatched = self._counter("events_unmatched", "Events that no webhook wants.")
        self.filtered_out = self._counter(
            "events_filtered_out", "Events that a webhook's filter held back, by webhook."
        )
        self.unknown_types = self._counter("events_unknown_type", "Events of a type outside the catalogue.")
        self.deliveries = self._counter("deliveries_created", "Deliveries made by fan-out.")
        self.attempts = Counter(
            f"{PREFIX}_attempts", "Finished attempts by outcome.", ["outcome"], registry=self.registry
        )
        for outcome in Outcome:
            self.attempts.labels(outcome.value)
        self.dropped = self._counter("results_dropped", "Results whose webhook was deleted meanwhile.")
        self.database_errors = self._counter("database_errors", "Transactions that failed and were tried again.")
        self.disabled = self._counter("webhooks_disabled", "Webhooks that the service has disabled by itself.")
        self.log_lost = self._counter("log_lines_lost", "Lines of the log that could not be written.")
        self._log_lost = 0
        self.duration = Histogram(
            f"{PREFIX}_attempt_duration_seconds",
            "Time from the start of an attempt to the head of its answer.",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.in_flight = Gauge(f"{PREFIX}_attempts_in_flight", "Requests under way.", registry=self.registry)
        self.ready = self._gauge("ready", "1 while the daemon delivers.")
        self._add_observed()
        self._add_latencies()
        info = Gauge(f"{PREFIX}_build_info", "The release that runs.", ["version"], registry=self.registry)
        info.labels(version("almirant-webhooks")).set(1)

    def _add_observed(self) -> None:
        """Add the gauges that the observer sets every few seconds; `observed` has the time."""
        self.observed = self._gauge("observed_timestamp_seconds", "When the gauges of pending work were last set.")
        self.oldest_due = self._gauge("oldest_due_age_seconds", "Since when the oldest due delivery has been due.")
        self.pending = Gauge(
            f"{PREFIX}_deliveries_pending",
            "Deliveries that are due, scheduled for later, or held.",
            ["kind"],
            registry=self.registry,
        )
        for kind in ("due", "scheduled", "held"):
            self.pending.labels(kind)
        self.unread = self._gauge("outbox_unread", "Rows of the outbox that wait to be taken, 1000 at most.")
        self.unread_age = self._gauge("outbox_unread_age_seconds", "Age of the first row that waits to be taken.")
        self.rejected_rows = self._gauge("outbox_rejected", "Rows of the outbox that cannot be sent, 1000 at most.")
        self.failing = self._gauge("webhooks_failing", "Enabled webhooks that have failed everything for an hour.")
        self.loop_lag = self._gauge("loop_lag_seconds", "The event loop's greatest delay in the last 15 seconds.")
        self.database_bytes = self._gauge("database_bytes", "Size of the database.")
        self.wal_bytes = self._gauge(
            "wal_bytes", "Size of the write-ahead log, of the database's or the outbox's file, whichever is longer."
        )
        self.disk_free = self._gauge("disk_free_bytes", "Room on the database's disk.")
        self.bodies_stored = self._gauge(
            "answer_bodies_stored", "0 while answers' bodies are not stored for want of room."
        )
        # Nobody sees the disk of a PostgreSQL server, and 0 would be no room.
        self.disk_free.set(math.nan)
        self.bodies_stored.set(1)

    def _add_latencies(self) -> None:
        buckets = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(f"{PREFIX}_{name}_seconds", text, registry=self.registry, buckets=buckets)

        self.fan_out = histogram(
            "fan_out", "Time to copy a batch of events with their deliveries, and to write the results beside them."
        )
        self.lock_wait = histogram("lock_wait", "Time that a transaction waited for the database's lock.")
        self.commit = histogram("commit", "Time to commit a transaction.")

    def transaction(self, lock_wait: float, commit: float) -> None:
        """Count a transaction with the seconds of its two waits."""
        self.lock_wait.observe(lock_wait)
        self.commit.observe(commit)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, registry=self.registry)

    def page(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        before, self._log_lost = self._log_lost, logs.losses.total
        self.log_lost.inc(self._log_lost - before)
        return generate_latest(self.registry)
