"""`almirant-webhooks secrets …`: the key of what is sealed in the database."""

from __future__ import annotations

import time

import click

from .. import clock
from ..actions import sealing as actions
from ..ops import sealing
from ..settings.schema import Settings
from .database import READS, reading
from .options import as_json, config
from .output import print_json, say
from .run_action import CommandDatabase, caller, run_action

WAIT = 10.0  # seconds for daemons to read a key file that has changed, which they do every second
LOOK_EVERY = 0.2


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
    done = _rotate(settings, seals, lost)
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


def _rotate(settings: Settings, seals: sealing.Seals, lost: bool) -> actions.RotatedKey:
    """Wait a little for daemons that have not read the new key yet."""
    database, until, is_said = CommandDatabase(settings), time.monotonic() + WAIT, False
    while True:
        try:
            return run_action(actions.rotate_key(database, caller(), now=clock.now(), seals=seals, is_lost=lost))
        except actions.KeyNotRead:
            if time.monotonic() >= until:
                raise
        if not is_said:
            say(f"Waiting up to {WAIT:g} s until every daemon has read the new key …")
            is_said = True
        time.sleep(LOOK_EVERY)
