"""Types that sections of the settings share: times, paths, and what a section is."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from .. import clock

# A hundred years: `now` less a longer span may be no date at all.
LONGEST = timedelta(days=36_500)


def as_span(value: object) -> timedelta:
    """Take a duration as people write it."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not a duration; write a number and a unit in quotes, as in "10s"')
    return clock.duration(value)


def as_path(value: object) -> object:
    """Take a path that the system can have."""
    if isinstance(value, str) and ("\0" in value or not value):
        raise ValueError("a path must not be empty or hold a NUL")
    return value


def as_list(value: object) -> object:
    """Take a comma-separated text where a list is meant: what fits into an environment variable."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _bounded(span: timedelta) -> timedelta:
    if span > LONGEST:
        raise ValueError(f"must not be longer than {clock.show_duration(LONGEST)}")
    return span


def _positive(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise ValueError("must be longer than 0s")
    return span


Span = Annotated[timedelta, BeforeValidator(as_span), AfterValidator(_bounded), PlainSerializer(clock.show_duration)]
PositiveSpan = Annotated[Span, AfterValidator(_positive)]


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
