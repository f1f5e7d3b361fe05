"""`token` and `portal-link`: who comes in to the API and the pages."""

from __future__ import annotations

import os

import click

from .. import clock
from ..actions import tokens
from ..ops import keys
from ..settings.schema import Settings
from .database import READS, reading
from .options import as_json, check_rights, config
from .output import confirm, print_json, print_table, say
from .run_action import CommandDatabase, caller, run_action


@click.command()
@click.option("--rotate", is_flag=True, help="Make a new one; sessions and links of before are over.")
@click.option("--producer", is_flag=True, help="Make a token for a producer on another machine instead.")
@click.option("--project", help="With --producer: for this project alone [default: for every one].")
@click.option("--producers", "listing", is_flag=True, help="List the producers' tokens (never the tokens themselves).")
@click.option("--revoke", metavar="ID", help="Remove a producer's token.")
@click.option("--yes", is_flag=True, help="With --rotate or --revoke: do not ask.")
@as_json
@config
def token(
    settings: Settings,
    rotate: bool,
    producer: bool,
    project: str | None,
    listing: bool,
    revoke: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Print the operator's token, which opens the pages and the API.

    \b
    Examples:
      almirant-webhooks token
      almirant-webhooks token --producer --project proj_1
    """
    if sum((rotate, producer, listing, revoke is not None)) > 1 or (project is not None and not producer):
        raise click.UsageError("Give one of --rotate, --producer [--project P], --producers and --revoke ID.")
    if producer:
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
        if rotate:
            _rotate(settings, yes=yes)
        _print_token({"token": _keys(settings).token}, as_json=as_json)


def _keys(settings: Settings) -> keys.Keys:
    check_rights(keys.path_of(settings.database.path), os.R_OK, "read")
    keys.ensure(settings.database.path)
    return keys.Keys(settings)


def _rotate(settings: Settings, *, yes: bool) -> None:
    if not yes:
        confirm("Make a new token? Every session and every link of before is over.")
    run_action(tokens.rotate_operator_token(CommandDatabase(settings), caller(), now=clock.now(), settings=settings))
    if settings.admin.token:
        say("Sessions and links are over; the token is the configured admin.token: change it there, and restart.")


def _print_token(fields: dict[str, str | None], *, as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    if fields.get("id"):
        say(f"{fields['id']}: shown this once; give it to the producer as `Authorization: Bearer …`.")
    click.echo(fields["token"])


@click.command("portal-link")
@click.argument("project")
@click.option(
    "--expires", default="1h", show_default=True, help="How long it opens the pages: 15m, 1h, 7d (30d at most)."
)
@as_json
@config
def portal_link(settings: Settings, project: str, expires: str, as_json: bool) -> None:
    """Make a link that opens the pages of one project, and nothing else, until it expires.

    \b
    Example:
      almirant-webhooks portal-link proj_1 --expires 1h
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
        )
    )
    if as_json:
        print_json(link._asdict())
    else:
        click.echo(link.url)
