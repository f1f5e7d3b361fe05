"""`token` and `portal-link`: who comes in to the API and the pages."""

from __future__ import annotations

import os

import click

from .. import clock
from ..actions import tokens
from ..model import Refused
from ..ops import keys
from ..settings.schema import Settings
from ..storage.engine import MOST_TOKENS
from .database import READS, actions, reading
from .options import as_json, check_rights, config
from .output import confirm, print_json, print_table, say
from .run_action import CommandDatabase, caller, run_action


@click.command()
@click.option("--rotate", is_flag=True, help="Make a new one; sessions and links of before are over.")
@click.option("--producer", is_flag=True, help="Make a token for a producer on another machine instead.")
@click.option("--project", help="Make an API token of this project; with --producer: for this project alone.")
@click.option("--name", help="With --project: the name of the API token [default: one is made up].")
@click.option("--producers", "listing", is_flag=True, help="List the producers' tokens (never the tokens themselves).")
@click.option("--list", "of_project", is_flag=True, help="With --project: list its API tokens.")
@click.option("--revoke", metavar="NAME", help="With --project: remove its API token; else a producer's, by its id.")
@click.option("--yes", is_flag=True, help="With --rotate or --revoke: do not ask.")
@as_json
@config
def token(
    settings: Settings,
    rotate: bool,
    producer: bool,
    project: str | None,
    name: str | None,
    listing: bool,
    of_project: bool,
    revoke: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Print the operator's token, which opens the pages and the API.

    \b
    Examples:
      almirant-webhooks token
      almirant-webhooks token --project proj_1 --name deploy
      almirant-webhooks token --producer --project proj_1
    """
    asked = sum((rotate, producer, listing, of_project, revoke is not None))
    if (
        asked > 1
        or (project is None and of_project)
        or (project is not None and (rotate or listing))
        or (name is not None and (project is None or asked))
    ):
        raise click.UsageError(
            "Give one of --rotate, --producer [--project P], --producers, --project P [--name NAME | --list | --revoke NAME] "
            "and --revoke ID."
        )
    if project is not None and not producer:
        _of_project(settings, project, name=name, revoke=revoke, listing=of_project, yes=yes, as_json=as_json)
    elif producer:
        producer_token = run_action(
            tokens.make_producer_token(CommandDatabase(settings), caller(), now=clock.now(), project_id=project)
        )
        _print_token(producer_token._asdict(), as_json=as_json)
    elif listing:
        with reading(settings) as conn:
            rows = READS.tokens.listed(conn)
        if as_json:
            print_json(rows)
        else:
            print_table({"id": "ID", "project_id": "PROJECT", "created_at": "CREATED"}, rows)
    elif revoke is not None:
        if not yes:
            confirm(f"Remove the producer's token {revoke}?")
        run_action(tokens.revoke_producer_token(CommandDatabase(settings), caller(), revoke, now=clock.now()))
        say(f"{revoke} opens nothing any more.")
    else:
        made = _rotate(settings, yes=yes) if rotate else None
        _print_token({"token": made or _operator_token(settings)}, as_json=as_json)


def _of_project(
    settings: Settings,
    project: str,
    *,
    name: str | None,
    revoke: str | None,
    listing: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make an API token of a project, list them, or revoke one by its name."""
    if listing:
        with reading(settings) as conn:
            rows = READS.project_tokens.listed(conn, project, MOST_TOKENS)
        if as_json:
            print_json(rows)
        else:
            print_table({"name": "NAME", "id": "ID", "created_at": "CREATED", "created_by": "BY"}, rows)
    elif revoke is not None:
        if not yes:
            confirm(f"Revoke the API token {revoke} of {project}?")
        with reading(settings) as conn:
            token_id = actions(settings).project_tokens.named(conn, project, revoke)["id"]
        run_action(tokens.revoke_project_token(CommandDatabase(settings), caller(), token_id, now=clock.now()))
        say(f"{revoke} opens nothing any more.")
    else:
        made = run_action(
            tokens.make_project_token(
                CommandDatabase(settings), caller(), now=clock.now(), project_id=project, name=name
            )
        )
        if as_json:
            print_json(made)
        else:
            say(f"{made['name']}: shown this once; programs give it as `Authorization: Bearer …`.")
            click.echo(made["token"])


def _keys(settings: Settings) -> keys.OperatorKeys:
    if (there := actions(settings).operator_keys) is not None:
        stored = keys.StoredKeys(settings.admin.token)
        with reading(settings) as conn:
            stored.learn(*there.read(conn))
        return stored
    return _own_keys(settings)


def _operator_token(settings: Settings) -> str:
    if settings.admin.token or actions(settings).operator_keys is None:
        return settings.admin.token or _own_keys(settings).token
    raise Refused(
        "The operator's token is kept as a digest, which nobody can read back: it was shown when it was made. Make a new one with "
        "`almirant-webhooks token --rotate`."
    )


def _own_keys(settings: Settings) -> keys.Keys:
    check_rights(keys.path_of(settings.database.path), os.R_OK, "read")
    keys.ensure(settings.database.path)
    return keys.Keys(settings)


def _rotate(settings: Settings, *, yes: bool) -> str | None:
    if not yes:
        confirm("Make a new token? Every session and every link of before is over.")
    made = run_action(
        tokens.rotate_operator_token(CommandDatabase(settings), caller(), now=clock.now(), settings=settings)
    )
    if settings.admin.token:
        say("Sessions and links are over; the token is the configured admin.token: change it there, and restart.")
    return None if settings.admin.token else made


def _print_token(fields: dict[str, str | None], *, as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    if fields.get("id"):
        say(f"{fields['id']}: shown this once; give it to the producer as `Authorization: Bearer …`.")
    click.echo(fields["token"])


@click.command("portal-link")
@click.argument("project")
@click.option("--expires", default="15m", show_default=True, help="How long it can be used: 15m, 1h (1d at most).")
@click.option("--actor", metavar="NAME", help="The person that it is for, as the audit trail names them.")
@click.option("--read-only", is_flag=True, help="Who comes by it may look and change nothing.")
@click.option(
    "--next", "leads_to", metavar="PATH", help="The page that it leads to, as /deliveries/dlv_… [default: /webhooks]."
)
@as_json
@config
def portal_link(
    settings: Settings,
    project: str,
    expires: str,
    actor: str | None,
    read_only: bool,
    leads_to: str | None,
    as_json: bool,
) -> None:
    """Make a link that opens the pages of one project, and nothing else, once. The session that it begins lasts for hours.

    \b
    Examples:
      almirant-webhooks portal-link proj_1
      almirant-webhooks portal-link proj_1 --actor maria@example.com --next /deliveries?state=failed
    """
    link = run_action(
        tokens.make_link(
            CommandDatabase(settings),
            caller(),
            now=clock.now(),
            settings=settings,
            signing_keys=_keys(settings),
            project_id=project,
            expires=expires,
            actor=actor,
            read_only=read_only,
            leads_to=leads_to,
        )
    )
    if as_json:
        print_json(link._asdict())
    else:
        click.echo(link.url)
