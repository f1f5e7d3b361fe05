"""The daemon as a process: its signals, its garbage collector, its log, and its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal

import structlog
import uvloop

from .daemon import Daemon, Unclosed
from .model import NO_THREAD, Misconfigured, Refused
from .ops import logs
from .ops.threads import start_libuv_s
from .settings.schema import Settings
from .storage.engine import StorageError

log = structlog.get_logger("almirant_webhooks")


async def _main(settings: Settings) -> None:
    daemon = Daemon(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # a stop may be asked for while it starts
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            loop.add_signal_handler(number, daemon.end, number.name)
    await start_libuv_s()
    await daemon.start()
    await daemon.wait()
    await daemon.stop()


def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM, SIGINT or SIGHUP; raises `Misconfigured`, `Refused` or a `StorageError` for a sentence.

    Standard error has to be `logs.in_background` already.
    """
    logs.configure(settings.log.level, settings.log.format)
    # Each delivery makes hundreds of objects and no cycle: looking for cycles after every 700 cost a tenth of all time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_main(settings))
        except Unclosed:
            log.error("ended without closing everything: something hangs")
            logs.drain()
            os._exit(1)
        except (Misconfigured, Refused, StorageError):
            raise
        except Exception as error:
            if isinstance(error, RuntimeError) and "start new thread" in str(error):
                raise Refused(NO_THREAD.format(error=error)) from None
            raise Refused(f"The daemon ended by a fault of its own ({error}); its log says more.") from None
