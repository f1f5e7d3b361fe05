"""The command `almirant-webhooks`. What a command needs is imported when it runs, so that each starts fast."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import click

from ..model import Misconfigured, Refused, WrongUsage
from ..storage.engine import StorageError
from . import streams
from .root import root

EXIT_REFUSED = 1
EXIT_WRONG_USAGE = 2
EXIT_MISCONFIGURED = 78  # EX_CONFIG: what a restart cannot mend


def main() -> None:
    """Run a command and exit: 0 done, 1 refused, 2 wrong usage, 78 misconfigured; each with a sentence."""
    streams.prepare()
    try:
        code = _run(lambda: root(standalone_mode=False)) or _run(sys.stdout.flush)
    finally:
        streams.drop_unwritten()
    sys.exit(code)


def _run(work: Callable[[], int | None]) -> int:
    """Do the work, say what went wrong in a sentence, and return the exit code."""
    try:
        return work() or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        _say("stopped")
        return EXIT_REFUSED
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return error.exit_code
    except Refused as error:
        _say(str(error))
        return EXIT_WRONG_USAGE if isinstance(error, WrongUsage) else EXIT_REFUSED
    except Misconfigured as error:
        _say(str(error))
        return EXIT_MISCONFIGURED
    except StorageError as error:
        reason = error.explained("the database")
        _say(str(reason))
        return EXIT_MISCONFIGURED if isinstance(reason, Misconfigured) else EXIT_REFUSED
    except BrokenPipeError:
        return EXIT_REFUSED  # whoever read our output has gone, as `head` does
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}." if error.filename else f"{error}.")
        return EXIT_REFUSED
    except UnicodeEncodeError:
        _say("A value holds bytes that are not UTF-8.")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return 130


def _say(sentence: str) -> None:
    from .output import safe_lines, say

    say(f"error: {safe_lines(sentence)}")
