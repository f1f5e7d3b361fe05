"""The commands of the service itself: serve, demo, migrate and what goes with them."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

import click

from .. import clock
from ..actions import installation, upkeep
from ..model import Misconfigured, Refused, WrongUsage
from ..ops import sealing
from ..rules.postgres_urls import DEFAULT_SCHEMA
from ..settings import loading as configuration
from ..settings.schema import Settings
from ..storage.engine import StorageError
from ..storage.postgres import scripts
from ..storage.sqlite import migrate as migrations
from ..storage.sqlite import outbox
from ..storage.sqlite.backup import copy
from . import moving
from .database import reading, tables
from .options import as_json, become_owner, config
from .output import print_json, print_table, say
from .run_action import CommandDatabase, caller, run_action
from .selecting import Time

MIGRATE_WITHIN = 3600  # seconds that systemd gives to a start that upgrades a large database


@click.command()
@click.option("--migrate", "with_migrate", is_flag=True, help="First make or upgrade the tables, as `migrate` does.")
@config
def serve(settings: Settings, with_migrate: bool) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from ..ops import logs, systemd
    from ..process import run

    logs.in_background()
    if with_migrate:
        systemd.notify(f"EXTEND_TIMEOUT_USEC={MIGRATE_WITHIN}000000")
        for line in installation.migrate(tables(settings), settings):
            say(line)
    try:
        run(settings)
    except StorageError as error:
        where = settings.database_place or settings.database.path
        raise error.explained(f"the database ({where})") from error


@click.command()
@click.option("--once", is_flag=True, help="Exit when all is delivered: 0, or 1 if something is missing.")
@click.option("--directory", help="Where its files go [default: a new temporary directory].")
@click.option(
    "--open", "opens", is_flag=True, help="Show its pages in the browser, where a receiver fails and recovers."
)
def demo(once: bool, directory: str | None, opens: bool) -> None:
    """See the whole service: a daemon, two receivers, events of all nine types, retries and the log."""
    from ..demo import run

    if once and opens:
        raise WrongUsage("--once ends the pages that --open shows; leave one of them out.", "open")
    raise click.exceptions.Exit(run(once=once, directory=directory, print_table=print_table, opens=opens))


@click.command("check-config")
@click.option("--config", "config_file", metavar="FILE", help="The configuration file.")
@click.option("--show", is_flag=True, help="Print every key with its value and where it comes from.")
@as_json
def check_config(config_file: str | None, show: bool, as_json: bool) -> None:
    """Check the configuration; exit 78 with the key, its source and the reason if it is wrong."""
    settings, sources = configuration.load_with_sources(config_file)
    configuration.check_places(settings, sources)
    user = os.geteuid()
    become_owner(settings)
    if os.geteuid() != user:  # what root may read the service's user may not
        settings, sources = configuration.load_with_sources(config_file)
    rows = [
        dict(zip(("key", "value", "source"), row, strict=True)) for row in configuration.describe(settings, sources)
    ]
    if as_json:
        print_json(rows)
    elif show:
        print_table({"key": "KEY", "value": "VALUE", "source": "SOURCE"}, rows)
    else:
        is_elsewhere = settings.database_place or settings.outbox_place
        unasked = " PostgreSQL was not asked: `almirant-webhooks doctor` does that." if is_elsewhere else ""
        say(f"The configuration is right.{unasked}")


@click.command()
@click.option("--adopt-outbox", is_flag=True, help="Take the outbox over from whichever database took from it before.")
@click.option("--since", type=Time(), help="With --adopt-outbox: look again at what was taken since this time.")
@click.option(
    "--producer", metavar="ROLE", help="Then let this role of PostgreSQL insert into the outbox, and no more."
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With database.url: copy the database in this file into it, with the daemon stopped.",
)
@click.option(
    "--from-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --from: the key of its secrets [default: FILE.seal].",
)
@config
def migrate(
    settings: Settings,
    adopt_outbox: bool,
    since: datetime | None,
    producer: str | None,
    source: Path | None,
    from_key: Path | None,
) -> None:
    """Make or upgrade the database, and the tables of the outbox.

    \b
    Example, to move from a file to PostgreSQL, with database.url in the configuration:
      almirant-webhooks migrate --from /var/lib/almirant-webhooks/almirant-webhooks.db
    """
    if source is not None:
        moving.move(settings, source, from_key)
        return
    if since is not None and not adopt_outbox:
        raise click.UsageError("--since goes with --adopt-outbox.")
    lines = installation.migrate(tables(settings), settings)
    for line in lines:
        say(line)
    if adopt_outbox:
        again = installation.adopt_outbox(tables(settings), settings, since)
        say(f"The outbox belongs to this database now; {again} taken rows will be looked at again.")
    if producer is not None:
        for line in installation.grant_producer(tables(settings), producer):
            say(line)
    elif not lines and not adopt_outbox:
        say("Nothing to do: all tables are those of this release.")


@click.command("outbox-sql")
@click.option(
    "--from",
    "schema",
    type=click.IntRange(outbox.OLDEST_VERSION),
    help="Print what brings an outbox of this schema (outbox_meta.schema_version) to the present one.",
)
@click.option("--postgres", is_flag=True, help="Print the tables for PostgreSQL.")
@click.option("--schema", "name", help=f"With --postgres: the tables' schema [default: {DEFAULT_SCHEMA}].")
def outbox_sql(schema: int | None, postgres: bool, name: str | None) -> None:
    """Print the SQL that makes the outbox, for an application with migrations of its own.

    Run what --from prints in one transaction. It prints nothing for the present schema.

    \b
    Example:
      almirant-webhooks outbox-sql --postgres
      almirant-webhooks outbox-sql --from 1
    """
    if name is not None and not postgres:
        raise WrongUsage("--schema goes with --postgres.", "postgres")
    newest = scripts.SCHEMA_VERSION if postgres else outbox.SCHEMA_VERSION
    if schema is not None and schema > newest:
        raise WrongUsage(f"--from: {schema} is newer than the present schema, which is {newest}.", "from")
    if postgres:
        click.echo(scripts.outbox_sql(name or DEFAULT_SCHEMA, schema or 0), nl=False)
        return
    click.echo(migrations.outbox_sql() if schema is None else migrations.outbox_upgrade_sql(schema), nl=not schema)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json
@config
def backup(settings: Settings, file: Path, as_json: bool) -> None:
    """Copy the database to a new file, also while the daemon works on it.

    \b
    Example:
      almirant-webhooks backup /var/backups/almirant-webhooks-$(date +%F).db
    """
    if settings.database_place is not None:
        raise Refused(
            "The database is in PostgreSQL: copy it with pg_dump, or by your server's own backups (docs/postgresql-server.md), and "
            "keep the key of its secrets in another place."
        )
    copied = file.absolute()
    with click.progressbar(length=100, label="copying", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def show(left: int, total: int) -> None:
            bar.update(int((total - left) * 100 / max(total, 1)) - bar.pos)

        with reading(settings) as conn:
            size = copy(conn, copied, show)
    _note(settings, size)
    if as_json:
        print_json({"file": str(copied), "bytes": size})
    else:
        say(f"{copied}: {size} bytes, checked and on the disk.")
    seals = sealing.of(settings)
    if seals.changed_at() is None:
        say(
            "The key of its secrets is not in it, and belongs to it: keep that too, in another place (see docs/key.md)."
        )
    else:
        say(f"The key of its secrets is not in it, and belongs to it: keep {seals.path} too, in another place.")
    if settings.outbox.path is not None:
        say(f"The outbox is a file of its own and not in it: {settings.outbox.path}.")


def _note(settings: Settings, size: int) -> None:
    """Write down that there is a copy of everything, if this user may write."""
    try:
        run_action(upkeep.note_backup(CommandDatabase(settings), caller(), now=clock.now(), size=size))
    except (Refused, Misconfigured, StorageError) as error:
        say(f"note: the audit trail has no entry of it: {error}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script.

    \b
    Example:
      almirant-webhooks completion bash > ~/.local/share/bash-completion/completions/almirant-webhooks
    """
    from click.shell_completion import get_completion_class

    from .root import root

    shell_completion = get_completion_class(shell)
    assert shell_completion is not None
    click.echo(shell_completion(root, {}, "almirant-webhooks", "_ALMIRANT_WEBHOOKS_COMPLETE").source())
