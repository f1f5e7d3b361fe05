"""`almirant-webhooks webhook preview`"""

from __future__ import annotations

import click

from ..actions import previews
from ..model import WrongUsage
from ..settings.schema import Settings
from .options import as_json, config
from .output import print_json, print_table, safe
from .run_action import CommandDatabase, caller, run_action
from .webhook_options import template_text


@click.command()
@click.argument("webhook_id", required=False)
@click.option("--project", help="Of this project, for a webhook that is not there yet.")
@click.option("--event", "events", multiple=True, help="A type, a family or *, in place of its own. Repeatable.")
@click.option("--where", "conditions", metavar="CONDITION", multiple=True, help="In place of its filter. Repeatable.")
@click.option("--no-where", is_flag=True, help="As if it had no filter.")
@click.option(
    "--template", metavar="NAME|@FILE|TEXT", callback=template_text, is_eager=True, help="In place of its template."
)
@click.option("--no-template", is_flag=True, help="As if it had no template.")
@as_json
@config
def preview(
    settings: Settings,
    webhook_id: str | None,
    project: str | None,
    events: tuple[str, ...],
    conditions: tuple[str, ...],
    no_where: bool,
    template: str | None,
    no_template: bool,
    as_json: bool,
) -> None:
    """Show what a webhook would get of the newest 100 events of its project. Nothing is saved or sent.

    \b
    Examples:
      almirant-webhooks webhook preview wh_1f… --where 'data.workItem.priority in high,urgent'
      almirant-webhooks webhook preview --project proj_1 --event 'work_item.*'
    """
    if conditions and no_where:
        raise WrongUsage("Give --where or --no-where, not both.", "filter")
    if template is not None and no_template:
        raise WrongUsage("Give --template or --no-template, not both.", "template")
    options: dict[str, object] = {"filter": conditions or None} if conditions or no_where else {}
    if template is not None or no_template:
        options["template"] = template
    result = run_action(
        previews.preview(
            CommandDatabase(settings),
            caller(),
            settings=settings,
            webhook_id=webhook_id,
            project_id=project,
            events=events or None,
            options=options,
        )
    )
    if as_json:
        print_json(result)
    else:
        _print(result)


def _heading(result: previews.Preview) -> str:
    count, looked_back_to = result["events"], result["looked_back_to"]
    if not count:
        return f"There is no event of these types yet{f' since {looked_back_to}' if looked_back_to else ''}."
    since = f", down to {looked_back_to}," if looked_back_to else ""
    return f"Of the newest {count} {'event' if count == 1 else 'events'} of these types{since} {result['sent']} would be sent."


def _print(result: previews.Preview) -> None:
    click.echo(_heading(result))
    if result["conditions"]:
        print_table({"events": "FILTERED OUT", "condition": "BY THE CONDITION"}, result["conditions"])
    if result["failed"]:
        click.echo(f"For {result['failed']} the template makes no body.")
    for body in result["bodies"]:
        click.echo(f"\n{body['event_id']}  {body['event_type']}  {body['created_at']}")
        click.echo(safe(body["cause"] or body["body"]) + ("…" if body["cut"] else ""))
