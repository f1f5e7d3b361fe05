"""The table of all commands: a name, where it is, and what it is for."""

from __future__ import annotations

import importlib

import click

from ..storage.sqlite import library

COMMANDS = {
    "serve": ("service:serve", "Run the daemon."),
    "demo": ("service:demo", "See the whole service on this machine, with no configuration."),
    "check-config": ("service:check_config", "Check the configuration, and show it."),
    "migrate": ("service:migrate", "Make or upgrade the database and the outbox."),
    "stats": ("stats:stats", "Show how the service stands, on one screen."),
    "doctor": ("doctor:doctor", "Look at what can be wrong, and say what to do."),
    "prune": ("upkeep:prune", "Remove what is older than it is kept."),
    "outbox-sql": ("service:outbox_sql", "Print the SQL that makes an outbox in an application's database."),
    "backup": ("service:backup", "Copy the database to a new file, also while it is in use."),
    "webhook": ("webhook:webhook", "Create, list and change webhooks."),
    "import": ("imports:import_", "Make webhooks of what Svix, Convoy or Outpost has."),
    "event": ("event:event", "Send events and ask what became of them."),
    "delivery": ("delivery:delivery", "Read the delivery log and resend."),
    "activity": ("activity:activity", "Show how attempts went, by the hour and by status."),
    "audit": ("audit:audit", "List who changed, revealed or resent what."),
    "token": ("access:token", "Print or change the operator's token; make tokens for producers."),
    "secrets": ("sealing:sealed_secrets", "Change the key of what is sealed in the database."),
    "portal-link": ("access:portal_link", "Make a link that opens the pages of one project."),
    "listen": ("receiver:listen", "Run a local receiver that verifies and prints what arrives."),
    "sign": ("receiver:sign", "Print the signature of a body."),
    "verify": ("receiver:verify", "Check the signature of a body."),
    "completion": ("service:completion", "Print a completion script for bash, zsh or fish."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command that is asked for, and no other."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f".{module}", __package__), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="almirant-webhooks")
def root() -> None:
    """Deliver webhooks from one process and one SQLite file.

    An INSERT into the outbox becomes signed POSTs with logged attempts.

    \b
    Begin with:
      almirant-webhooks demo --once
    """
    library.check()  # before a command makes or reads any file
