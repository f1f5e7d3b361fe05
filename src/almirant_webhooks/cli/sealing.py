"""`almirant-webhooks secrets …`: the key of what is sealed in the database."""

from __future__ import annotations

import click

from .. import clock
from ..actions import sealing as actions
from ..model import Refused
from ..ops import sealing
from ..settings.schema import Settings
from .database import READS, daemon_since, reading
from .options import as_json, config
from .output import print_json, say
from .run_action import CommandDatabase, caller, run_action


@click.group("secrets")
def sealed_secrets() -> None:
    """Look after the key of what is sealed in the database."""


@sealed_secrets.command("rotate-key")
@click.option("--lost", is_flag=True, help="The key is gone: disable the webhooks whose secrets it took with it.")
@as_json
@config
def rotate_key(settings: Settings, lost: bool, as_json: bool) -> None:
    """Seal what is secret with a new key, also while the daemon works; run it again if it was cut short.

    With `secrets.seal = false` it stores everything plain.
    """
    seals = sealing.of(settings)
    since, changed = daemon_since(settings), seals.changed_at()
    if not seals.is_own and since is not None and changed is not None and since < changed:
        raise Refused(
            f"The daemon has begun before {seals.path} was changed, and may have a copy of a credential from then: with another "
            "key it would disable every webhook. Restart it, then run this again."
        )
    database, now = CommandDatabase(settings), clock.now()
    done = run_action(actions.rotate_key(database, caller(), now=now, seals=seals, is_lost=lost))
    with reading(settings) as conn:
        is_plain_left = READS.sealed.is_plain_left(conn)
    if as_json:
        print_json(done._asdict())
    elif done.key_id is None:
        say(
            f"The secrets of {done.webhooks} webhooks are plain in the database now: whoever can open it can read them."
        )
    else:
        say(
            f"The secrets of {done.webhooks} webhooks are sealed with the key {done.key_id}, the last in {seals.path}. Copy "
            "that file to where you keep it. The earlier keys are needed for as long as there are backups of before."
        )
    for problem in done.problems.values():
        say(f"note: {problem}")
    if is_plain_left:
        say(
            "note: run `almirant-webhooks migrate`, which overwrites what is left of plain secrets in the file's free space."
        )
    if done.problems and not lost:
        raise click.exceptions.Exit(1)
