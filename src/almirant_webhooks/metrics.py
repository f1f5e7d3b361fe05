"""Counters and gauges for Prometheus; no label names a project, a webhook or a URL."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .model import Outcome

PREFIX = "almirant_webhooks"


class Metrics:
    """What the daemon has counted since it started."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.events = self._counter("events_taken", "Events taken from the outbox.")
        self.duplicates = self._counter("events_duplicate", "Outbox rows whose event was there already.")
        self.rejected = self._counter("events_rejected", "Outbox rows that cannot be sent.")
        self.unmatched = self._counter("events_unmatched", "Events that no webhook wants.")
        self.unknown_types = self._counter("events_unknown_type", "Events of a type outside the catalogue.")
        self.deliveries = self._counter("deliveries_created", "Deliveries made by fan-out.")
        self.attempts = Counter(
            f"{PREFIX}_attempts", "Finished attempts by outcome.", ["outcome"], registry=self.registry
        )
        for outcome in Outcome:
            self.attempts.labels(outcome.value)
        self.dropped = self._counter("results_dropped", "Results whose webhook was deleted meanwhile.")
        self.database_errors = self._counter("database_errors", "Transactions that failed and were tried again.")
        self.duration = Histogram(
            f"{PREFIX}_attempt_duration_seconds",
            "Time from the start of an attempt to the head of its answer.",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.in_flight = Gauge(f"{PREFIX}_attempts_in_flight", "Requests under way.", registry=self.registry)
        self.ready = Gauge(f"{PREFIX}_ready", "1 while the daemon delivers.", registry=self.registry)
        info = Gauge(f"{PREFIX}_build_info", "The release that runs.", ["version"], registry=self.registry)
        info.labels(version("almirant-webhooks")).set(1)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, registry=self.registry)

    def page(self) -> bytes:
        """Write all of it in Prometheus' text format."""
        return generate_latest(self.registry)
