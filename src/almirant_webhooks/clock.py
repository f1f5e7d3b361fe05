"""Times as the contract writes them: UTC text with milliseconds, and durations such as `30s`, `5m`, `2h`, `7d`."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")


def now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)


def from_unix(seconds: float) -> datetime:
    """Return the time that Unix seconds stand for."""
    return datetime.fromtimestamp(seconds, UTC)


EARLIEST = "0001-01-01T00:00:00.000Z"  # before every time that is written


@lru_cache(maxsize=1024)  # all that one transaction writes has the same few times
def text(moment: datetime) -> str:
    """Write a time as `YYYY-MM-DDTHH:MM:SS.mmmZ`; texts of two times sort as the times do."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse(value: str) -> datetime:
    """Read an ISO 8601 date or time; one without a zone is UTC. Raises ValueError with a sentence."""
    try:
        read = datetime.fromisoformat(value.strip())
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except ValueError:
        raise ValueError(f"{value!r} is not a time; write it as 2026-01-31 or 2026-01-31T09:30:00Z") from None
    except OverflowError:
        raise ValueError(f"{value!r} is out of range") from None


def moment(value: str, now: datetime) -> datetime:
    """Read a time, or how long before `now` it was (`2h`). Raises ValueError with a sentence."""
    if _DURATION.fullmatch(value.strip()):
        try:
            return now - duration(value)
        except OverflowError:
            raise ValueError(f"{value!r} is too long ago") from None
    try:
        return parse(value)
    except ValueError as error:
        raise ValueError(f"{error}, or as how long ago: 2h") from None


def http_date(value: str) -> datetime | None:
    """Read a date of HTTP in any of its three forms (RFC 9110, section 5.6.7), or return None for what is none."""
    try:
        moment = parsedate_to_datetime(value[:64])
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def seconds_until(value: str, now: datetime) -> float:
    """Return the seconds until a time that may have been written by hand; one that is none never comes."""
    try:
        return (parse(value) - now).total_seconds()
    except (ValueError, OverflowError):
        return math.inf


def duration(value: str) -> timedelta:
    """Read a duration: a whole number and a unit (ms, s, m, h, d). Raises ValueError with a sentence."""
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a whole number and a unit, as in 500ms, 10s, 5m, 2h, 30d")
    return int(match[1]) * _UNITS[match[2]]


def show_duration(span: timedelta) -> str:
    """Write a duration with the largest unit that divides it: the inverse of `duration`."""
    if not span:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if not span % _UNITS[unit]:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{span // _UNITS['ms']}ms"
