"""The options by which `webhook create` and `webhook update` are told what `model.Options` has."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from ..model import OPTIONS, WrongUsage
from ..rules.webhook_options import MAX_CONCURRENCY

_SETTING = "delivery.concurrency_per_webhook"


def _options(command: Callable[..., Any], *, update: bool) -> Callable[..., Any]:
    """Give a command each option, and where it can take one away a `--no-…`; it gets them as `options`."""

    @wraps(command)
    def with_options(*args: Any, **values: Any) -> Any:
        options = {name: values.pop(name) for name in OPTIONS}
        options = {name: value for name, value in options.items() if value is not None}
        for name in OPTIONS:
            if values.pop(f"no_{name}", False):
                if name in options:
                    raise WrongUsage(f"Give --{name} or --no-{name}, not both.", name)
                options[name] = None
        return command(*args, options=options, **values)

    decorated: Callable[..., Any] = with_options
    if update:
        decorated = click.option("--no-concurrency", is_flag=True, help=f"As {_SETTING} says again.")(decorated)
    return click.option(
        "--concurrency",
        metavar="NUMBER",
        help=f"Requests under way at once, 1 to {MAX_CONCURRENCY} [default: as {_SETTING} says].",
    )(decorated)


def of_new(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a new webhook."""
    return _options(command, update=False)


def of_change(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a change, which can take each away too."""
    return _options(command, update=True)
