"""Writers on one file take turns in the order in which they came."""

from __future__ import annotations

import threading

from almirant_webhooks.db.worker import Turn


def test_a_turn_goes_to_the_one_that_has_waited_longest() -> None:
    """Not to the thread that runs, which has just let go of it and asks again."""
    turn = Turn()
    order: list[str] = []

    def write(name: str) -> None:
        with turn:
            order.append(name)

    with turn:
        others = [threading.Thread(target=write, args=(name,)) for name in ("first", "second")]
        for number, other in enumerate(others, start=1):
            other.start()
            while len(turn._waiting) < number:
                pass
    with turn:
        order.append("again")
    for other in others:
        other.join()
    assert order == ["first", "second", "again"]


def test_a_turn_that_ends_with_an_error_goes_on_to_the_next() -> None:
    """Whatever a transaction raises."""
    turn = Turn()
    for _ in range(2):
        try:
            with turn:
                raise OSError
        except OSError:
            pass
    assert not turn._taken
