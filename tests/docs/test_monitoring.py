"""The alert rules and the dashboard, held against the metrics that there are and against promtool."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from almirant_webhooks.ops.metrics import Metrics

from ..support import needs

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"


@pytest.mark.parametrize("name", ["alerts.yml", "alerts_test.yml", "dashboard.json"])
def test_every_metric_that_is_looked_at_is_on_the_page(name: str) -> None:
    """By the name that Prometheus sees: a renamed metric must not silence an alert."""
    there = set(re.findall(r"^(almirant_webhooks_\w+)[ {]", Metrics().page().decode(), re.MULTILINE))
    named = set(re.findall(r"almirant_webhooks_\w+", (FOLDER / name).read_text()))
    assert named
    assert named <= there


def test_the_dashboard_shows_what_the_daemon_measures() -> None:
    """Each panel asks for something, of the data source that is chosen."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    assert len(dashboard["panels"]) >= 15
    assert all(panel["targets"] and panel["title"] for panel in dashboard["panels"])
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {"${datasource}"}


@pytest.mark.long
@pytest.mark.parametrize("words", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_promtool_accepts_the_rules_and_their_tests_hold(words: tuple[str, ...]) -> None:
    """Healthy numbers alert nobody; missing, frozen and bad ones each do."""
    promtool = needs.program("promtool")
    done = subprocess.run([promtool, *words], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_label_names_a_project_or_a_webhook() -> None:
    """Label sets are bounded, whatever producers and admins do."""
    metrics = Metrics()
    labels = {label for metric in metrics.registry.collect() for sample in metric.samples for label in sample.labels}
    assert labels <= {"outcome", "kind", "le", "version"}
