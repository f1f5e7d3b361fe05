"""The command `activity`: how attempts went in a span of time."""

from __future__ import annotations

import click

from .. import clock
from ..rules import activity as rules
from ..settings.schema import Settings
from .database import READS, reading
from .options import as_json, config
from .output import print_fields, print_json, print_table
from .selecting import wrong_usage


@click.command()
@click.argument("webhook_id", required=False)
@click.option("--project", metavar="TEXT", help="Of all webhooks of this project together.")
@click.option("--span", default=rules.DEFAULT, metavar="SPAN", help=f"One of {', '.join(rules.SPANS)} [default: 24h].")
@as_json
@config
def activity(settings: Settings, webhook_id: str | None, project: str | None, span: str, as_json: bool) -> None:
    """Show how the attempts of a webhook, or of a project, went: by the time, the share that failed, and by status.

    \b
    Examples:
      almirant-webhooks activity wh_1 --span 7d
      almirant-webhooks activity --project proj_1 --json
    """
    if (webhook_id is None) is (project is None):
        raise click.UsageError("Give a webhook, or --project.")
    with wrong_usage():
        rules.span_of(span, "--span")
    now = clock.now()
    with reading(settings) as conn:
        if webhook_id is not None:
            ids = [READS.webhooks.get(conn, webhook_id).id]
        else:
            ids = [webhook.id for webhook in READS.webhooks.find(conn, project_id=project)]
        found = rules.activity(READS.activity.counted(conn, ids, rules.SPANS[span], now), span, now)
    if as_json:
        print_json(found)
        return
    rate = found["error_rate"]
    print_fields(
        {
            "since": found["since"],
            "succeeded": found["succeeded"],
            "failed": found["failed"],
            "error rate": "none" if rate is None else f"{rate:.1%}",
            "mean": "none" if found["mean_ms"] is None else f"{found['mean_ms']} ms",
            "longest": "none" if found["longest_ms"] is None else f"{found['longest_ms']} ms",
            "failed by status": ", ".join(f"{status}: {count}" for status, count in found["failures"].items())
            + ("" if found["failures_complete"] else ", or more")
            or "none",
        }
    )
    print_table({"start": "FROM", "succeeded": "SUCCEEDED", "failed": "FAILED", "mean_ms": "MEAN MS"}, found["parts"])
