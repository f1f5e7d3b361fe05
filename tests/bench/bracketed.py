"""The daemon with the processor time of its parts counted: each call of a part is put between two looks at its thread's clock.

What a part calls in turn and is a part of its own is taken off. A coroutine is counted step by step. The looks cost about
half a microsecond each; most parts work on whole groups, so that only the client and the signing feel it.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import almirant_webhooks.daemon  # with all that it needs
from almirant_webhooks import cli
from almirant_webhooks.delivery import attempts, batch, loop, reports, result_queue
from almirant_webhooks.rules import signing
from almirant_webhooks.sending import exchange, sender
from almirant_webhooks.storage import worker
from almirant_webhooks.storage.sql import claiming, deliveries, fanout, results
from almirant_webhooks.storage.sqlite import outbox, unread

COMMIT = "SQL: begin, commit and the rest"
FUNCTIONS: tuple[tuple[Callable[..., Any], str], ...] = (
    (unread.read_unread, "SQL: outbox, read and mark"),
    (outbox.mark, "SQL: outbox, read and mark"),
    (outbox.mark_taken, "SQL: outbox, read and mark"),
    (fanout.look_up, "SQL: fan out"),
    (fanout.insert, "SQL: fan out"),
    (claiming.claim, "SQL: claim"),
    (deliveries.first_due_and_revision, "SQL: claim"),
    (results.judge, "SQL: record"),
    (signing.sign, "signing"),
    (reports.report, "logs and metrics"),
)
METHODS: tuple[tuple[type, str, str], ...] = (
    (results.Ended, "write", "SQL: record"),
    (exchange.Connection, "data_received", "HTTP client"),
    (sender.Sender, "prepare", "HTTP client"),
    (sender.Sender, "begin", "HTTP client"),
    (sender.Sender, "_end", "HTTP client"),
    (attempts.Attempts, "_end", "scheduling"),
    (attempts.Attempts, "send", "scheduling"),
    (batch.Chooser, "choose", "scheduling"),
    (result_queue.ResultQueue, "take", "scheduling"),
    (loop.DeliveryLoop, "_confirm", "scheduling"),
    (loop.DeliveryLoop, "step", COMMIT),
)
PARTS = frozenset(part for _, part in FUNCTIONS) | frozenset(part for *_, part in METHODS)
spent: Counter[str] = Counter()
_inner = threading.local()  # what the parts inside the one that is open have taken, by depth


def _between(part: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    depths: list[int] = _inner.__dict__.setdefault("depths", [0])
    depths.append(0)
    begin = time.thread_time_ns()
    try:
        return call(*args, **kwargs)
    finally:
        took = time.thread_time_ns() - begin
        spent[part] += took - depths.pop()
        depths[-1] += took


class _Steps:
    """A coroutine whose every step is counted."""

    def __init__(self, part: str, coroutine: Any) -> None:
        self._part = part
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            try:
                waited = _between(self._part, step, value)
            except StopIteration as end:
                return end.value
            try:
                step, value = self._coroutine.send, (yield waited)
            except BaseException as error:
                step, value = self._coroutine.throw, error


def _counted(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _between(part, function, *args, **kwargs)

    @functools.wraps(function)
    async def steps(*args: Any, **kwargs: Any) -> Any:
        return await _Steps(part, function(*args, **kwargs))

    return steps if function.__code__.co_flags & 0x80 else call


def _put_in() -> None:
    modules = [module for name, module in sys.modules.items() if name.startswith("almirant_webhooks")]
    for function, part in FUNCTIONS:
        for module in modules:
            for name, value in list(vars(module).items()):
                if value is function:
                    setattr(module, name, _counted(part, function))
    for owner, name, part in METHODS:
        setattr(owner, name, _counted(part, getattr(owner, name)))
    ship = worker.Worker.run

    async def run(self: worker.Worker, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return await ship(self, functools.partial(_between, COMMIT, function), *args, **kwargs)

    worker.Worker.run = run  # type: ignore[method-assign]


def main(file: Path) -> None:
    """Run the command line; afterwards write what was spent, in nanoseconds, since the daemon was up."""
    _put_in()
    begin: dict[str, int] = {}
    start = almirant_webhooks.daemon.Daemon.start

    async def started(daemon: almirant_webhooks.daemon.Daemon) -> None:
        await start(daemon)
        spent.clear()
        begin.update(whole=time.process_time_ns(), loop=time.thread_time_ns())

    almirant_webhooks.daemon.Daemon.start = started  # type: ignore[method-assign, assignment]
    try:
        cli.main()
    finally:
        ends = {"whole": time.process_time_ns() - begin["whole"], "loop": time.thread_time_ns() - begin["loop"]}
        file.write_text(json.dumps({**ends, "parts": dict(spent)}))


if __name__ == "__main__":
    main(Path(os.environ.pop("BENCH_SPENT")))
