"""Actions as commands call them: by the user who runs the command, on the database of the configuration, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..model import Full, LocalUrl, Refused, Waiting
from ..rules.principals import Principal, Role
from ..settings.schema import Settings
from ..storage.engine import ActionStore, Session
from .database import WAIT, actions, opened_outbox, reading, writing
from .options import actor

# For operators, who alone can change it.
_WAYS: dict[type[Refused], str] = {
    Full: "The configuration has the number at limits.webhooks_per_project.",
    LocalUrl: "The configuration allows it by egress.allow_localhost = true, for development.",
}
P = ParamSpec("P")
T = TypeVar("T")


class CommandDatabase:
    """The database and the outbox, opened for each read and each write; a daemon that runs notices what is written."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.store: ActionStore = actions(settings)

    async def read(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that reads, on a state of its own."""
        with reading(self._settings) as conn:
            return function(conn, *args, **kwargs)

    async def read_slowly(
        self, owner: str | None, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a function that reads: a command waits for itself alone."""
        return await self.read(function, *args, **kwargs)

    async def write(self, function: Callable[Concatenate[Session, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in one write transaction."""
        with writing(self._settings) as conn:
            return function(conn, *args, **kwargs)

    async def write_outbox(self, function: Callable[[Session, float], T], /) -> T:
        """Call a function with the outbox's connection and the seconds that it may wait for a lock."""
        with opened_outbox(self._settings) as conn:
            return function(conn, WAIT)


def caller() -> Principal:
    """Return who runs the command: an operator, whom the audit trail names by the system user."""
    return Principal(Role.OPERATOR, name=actor())


def run_action(action: Coroutine[Any, Any, T], waiting: str = "") -> T:
    """Run an action to its end and return its value. A command's database never suspends it, so no event loop is needed.

    `waiting` is what a command can do about `Waiting`, whose own sentence is for people on the pages too.
    """
    try:
        action.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    except (Full, LocalUrl) as refused:
        kind = type(refused)
        raise kind(f"{refused.message} {_WAYS[kind]}", refused.field, refused.others) from None
    except Waiting as refused:
        raise Waiting(f"{refused.message} {waiting}".rstrip()) from None
    action.close()
    raise RuntimeError("An action waited for something that a command does not have.")
