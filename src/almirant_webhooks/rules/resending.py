"""How a resend of many or a replay goes, in a sentence."""

from __future__ import annotations

from .texts import Text, listed, plural


def progress(*, is_replay: bool, state: str, matched: int, requested: int, succeeded: int, failed: int) -> Text:
    """Return how far one is and how its deliveries went; `state` is running, finished or cancelled.

    What was asked for has succeeded, has failed, or is on its way: a delivery of a replay may be tried again after the end.
    """
    under_way = max(0, requested - succeeded - failed)
    is_all = state != "running" and requested > 1
    parts: list[Text] = []
    if succeeded:
        parts.append(_all_succeeded(succeeded) if is_all and succeeded == requested else _succeeded(succeeded))
    if failed:
        parts.append(_all_failed(failed) if is_all and failed == requested else _failed(failed))
    if under_way:
        parts.append(plural("{number:,} waits or is under way", "{number:,} wait or are under way", under_way))
    if state == "cancelled" and matched > requested:
        parts.append(_left(matched - requested, is_replay=is_replay))
    if state != "running":
        words = listed(parts) if parts else Text("nothing was sent")
        return (
            Text("Cancelled: {words}.", words=words)
            if state == "cancelled"
            else Text("Finished: {words}.", words=words)
        )
    if not parts and is_replay:
        return Text("{requested:,} of {matched:,} made.", requested=requested, matched=matched)
    if not parts:
        return Text("{requested:,} of {matched:,} asked for.", requested=requested, matched=matched)
    words = listed(parts)
    if is_replay:
        return Text("{requested:,} of {matched:,} made: {words}.", requested=requested, matched=matched, words=words)
    return Text("{requested:,} of {matched:,} asked for: {words}.", requested=requested, matched=matched, words=words)


def _all_succeeded(number: int) -> Text:
    return Text("all {number:,} succeeded", number=number)


def _succeeded(number: int) -> Text:
    return plural("{number:,} succeeded", "{number:,} succeeded", number)


def _all_failed(number: int) -> Text:
    return Text("all {number:,} failed", number=number)


def _failed(number: int) -> Text:
    return plural("{number:,} failed", "{number:,} failed", number)


def _left(number: int, *, is_replay: bool) -> Text:
    if is_replay:
        return plural("{number:,} was not made", "{number:,} were not made", number)
    return plural("{number:,} was not sent again", "{number:,} were not sent again", number)
