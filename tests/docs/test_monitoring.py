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


def test_each_panel_is_of_one_installation_however_many_daemons_it_has() -> None:
    """What each daemon tells of the whole database is not added up; what each has done is; the rest is by daemon."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job"]
    own = {"attempts_in_flight", "loop_lag_seconds", "ready", "database_errors_total"}
    for expression in (target["expr"] for panel in dashboard["panels"] for target in panel["targets"]):
        metrics = re.findall(r"almirant_webhooks_(\w+)", expression)
        assert expression.count('{job=~"$job"}') == len(metrics) == 1, expression
        counts = metrics[0].endswith(("_total", "_bucket"))
        inner = r"(rate|increase)\(almirant" if counts else r"(max|min|sum|count)(?: by \(\w+\))? ?\(almirant"
        assert re.search(inner, expression), expression
        assert not counts or "sum" in expression
        assert ("by (instance)" in expression) == (metrics[0] in own), expression
        assert counts or "sum" not in expression or metrics[0] in own, expression


def test_each_alert_about_the_whole_database_sounds_once_for_all_daemons() -> None:
    """Of these, by its name; all others name the daemon."""
    rules = dict(re.findall(r"- alert: AlmirantWebhooks(\w+)\n(.*?)(?=\n *- alert:|\Z)", (FOLDER / "alerts.yml").read_text(), re.DOTALL))  # fmt: skip
    once = {"OutboxNotRead", "Late", "Failing", "Disabled", "Rejecting", "UnknownTypes", "ReleasesDiffer"}
    assert {name for name, rule in rules.items() if " by (job) (" in rule} == once
    silent = {"Missing", "WalGrows"}  # of no daemon, and of the one that a file has
    assert {name for name, rule in rules.items() if "$labels.instance" not in rule} == once | silent


def test_what_cannot_be_measured_is_no_number() -> None:
    """The disk of a PostgreSQL server: an alert on too little of it would sound for ever."""
    page = Metrics().page().decode()
    assert re.search(r"^almirant_webhooks_disk_free_bytes NaN$", page, re.MULTILINE)
    assert re.search(r"^almirant_webhooks_answer_bodies_stored 1\.0$", page, re.MULTILINE)


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
