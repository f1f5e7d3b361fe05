"""Writers on one file take locks in the order in which they came."""

from __future__ import annotations

import threading

from almirant_webhooks.storage.sqlite.worker import FairLock


def test_a_lock_goes_to_the_one_that_has_waited_longest() -> None:
    """Not to the thread that runs, which has just let go of it and asks again."""
    lock = FairLock()
    order: list[str] = []

    def write(name: str) -> None:
        with lock:
            order.append(name)

    with lock:
        others = [threading.Thread(target=write, args=(name,)) for name in ("first", "second")]
        for number, other in enumerate(others, start=1):
            other.start()
            while len(lock._waiting) < number:
                pass
    with lock:
        order.append("again")
    for other in others:
        other.join()
    assert order == ["first", "second", "again"]


def test_a_lock_that_ends_with_an_error_goes_on_to_the_next() -> None:
    """Whatever a transaction raises."""
    lock = FairLock()
    for _ in range(2):
        try:
            with lock:
                raise OSError
        except OSError:
            pass
    assert not lock._taken
