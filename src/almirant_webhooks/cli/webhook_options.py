"""The options by which `webhook create` and `webhook update` are told what `model.Options` has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ..model import OPTIONS, Refused, WrongUsage
from ..rules import filters, presets, templates
from ..rules.headers import MAX_HEADERS, MAX_VALUE
from ..rules.webhook_options import MAX_CONCURRENCY

_WORDS = {"filter": "where", "headers": "header"}  # of options whose name on the command line is another
_SETTING = "delivery.concurrency_per_webhook"
_MOST_OF_A_FILE = 2 * MAX_HEADERS * (MAX_VALUE + 128)  # bytes


def _options(command: Callable[..., Any], *, update: bool) -> Callable[..., Any]:
    """Give a command each option, and where it can take one away a `--no-…`; it gets them as `options`."""

    @wraps(command)
    def with_options(*args: Any, **values: Any) -> Any:
        values["headers"] = _headers(values["headers"], values.pop("no_header", ())) or None
        options = {name: values.pop(name) for name in OPTIONS}
        options = {name: value for name, value in options.items() if value not in (None, ())}
        _take_away(options, [name for name in OPTIONS if values.pop(f"no_{name}", False)])
        return command(*args, options=options, **values)

    decorated: Callable[..., Any] = with_options
    in_order = "One delivery after the other, in the order of their events."
    decorated = click.option("--ordered/--no-ordered", default=None, help=in_order)(decorated)
    if update:
        decorated = click.option("--no-rate-limit", is_flag=True, help="As many as come again.")(decorated)
        decorated = click.option("--no-where", "no_filter", is_flag=True, help="Take the filter away.")(decorated)
        decorated = click.option("--no-concurrency", is_flag=True, help=f"As {_SETTING} says again.")(decorated)
        decorated = click.option("--no-headers", is_flag=True, help="No header beside those of every request.")(
            decorated
        )
        decorated = click.option("--no-header", metavar="NAME", multiple=True, help="Not this header. Repeatable.")(
            decorated
        )
        decorated = click.option("--no-template", is_flag=True, help="Send events' own bodies again.")(decorated)
    decorated = click.option(
        "--template",
        metavar="NAME|@FILE|TEXT",
        callback=template_text,
        is_eager=True,  # before the user changes to the database's owner, who may not read the file
        help=f"What is sent in place of an event's own body: {', '.join(presets.NAMES)}, or a JSON text with placeholders "
        "such as {{ data.workItem.title }}.",
    )(decorated)
    decorated = click.option(
        "--where",
        "filter",
        metavar="CONDITION",
        multiple=True,
        help="Only events for which this holds, as 'data.priority in high,urgent'. Repeatable: all must hold.",
    )(decorated)
    decorated = click.option(
        "--header",
        "headers",
        metavar="'NAME: VALUE'|@FILE",
        multiple=True,
        callback=_lines_of,
        is_eager=True,
        help="A further header of each request, or a file with one a line, so that no list of processes has its value. "
        "Repeatable.",
    )(decorated)
    decorated = click.option(
        "--rate-limit",
        metavar="RATE",
        help="Attempts that begin within a second, a minute or an hour: 10/s, 300/m, 5000/h [default: no limit].",
    )(decorated)
    return click.option(
        "--concurrency",
        metavar="NUMBER",
        help=f"Requests under way at once, 1 to {MAX_CONCURRENCY} [default: as {_SETTING} says].",
    )(decorated)


def template_text(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return a template's text, that of a file for `@FILE`."""
    if value is None or not value.startswith("@"):
        return value
    return _text_of("--template", "template", value[1:], templates.MAX_BYTES, f"is too long. {templates.TOO_LONG}")


def _text_of(word: str, field: str, place: str, most: int, too_long: str) -> str:
    """Return the text of a file of `most` bytes; raises `Refused`, which names the option and the file."""
    try:
        with Path(place).open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise Refused(f"{word}: {place} {too_long}", field)
        return content.decode()
    except OSError as error:
        raise Refused(f"{word}: {place} cannot be read: {error.strerror}.", field) from None
    except ValueError:  # a NUL in the name is one too
        raise Refused(f"{word}: {place} is not text in UTF-8.", field) from None


def _take_away(options: dict[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if name in options:
            word = _WORDS.get(name, name).replace("_", "-")
            other = "headers" if name == "headers" else word
            raise WrongUsage(f"Give --{word} or --no-{other}, not both.", name)
        options[name] = None


def of_new(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a new webhook."""
    return _options(command, update=False)


def of_change(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a change, which can take each away too."""
    return _options(command, update=True)


def in_words(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return those of a webhook's fields that are no single text as one each."""
    return {
        "filter": filters.words(fields["filter"] or []),
        "headers": ", ".join(f"{name}: {value}" for name, value in (fields["headers"] or {}).items()),
    }


def _lines_of(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[str]:
    return [line for text in given for line in (_lines(text[1:]) if text.startswith("@") else (text,))]


def _headers(lines: list[str], taken_away: tuple[str, ...]) -> list[tuple[str, str | None]]:
    pairs = [line.partition(":")[::2] for line in lines]
    return [*((name, value.removeprefix(" ")) for name, value in pairs), *((name, None) for name in taken_away)]


def _lines(place: str) -> Iterator[str]:
    """Yield the lines of a file that has headers; empty ones are left out."""
    text = _text_of("--header", "headers", place, _MOST_OF_A_FILE, f"has more than {_MOST_OF_A_FILE:,} bytes.")
    yield from filter(None, text.replace("\r\n", "\n").split("\n"))
