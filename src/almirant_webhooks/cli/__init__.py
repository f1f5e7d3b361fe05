"""The command `almirant-webhooks`. What a command needs is imported when it runs, so that each starts fast."""

from __future__ import annotations

import os
import sqlite3
import sys

import click

from ..model import Misconfigured, Refused
from .root import root

EXIT_REFUSED = 1
EXIT_MISCONFIGURED = 78  # EX_CONFIG: what a restart cannot mend


def main() -> None:
    """Run a command and exit: 0 done, 1 refused, 2 wrong usage, 78 misconfigured; each with a sentence."""
    _open_standard_streams()
    try:
        sys.exit(root(standalone_mode=False))
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        _say("stopped")
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Refused as error:
        _say(str(error))
        sys.exit(EXIT_REFUSED)
    except Misconfigured as error:
        _say(str(error))
        sys.exit(EXIT_MISCONFIGURED)
    except sqlite3.Error as error:
        from ..db.connection import explain

        known = explain(error, "the database")
        _say(str(known))
        sys.exit(EXIT_MISCONFIGURED if isinstance(known, Misconfigured) else EXIT_REFUSED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}." if error.filename else f"{error}.")
        sys.exit(EXIT_REFUSED)
    except UnicodeEncodeError:
        _say("A value holds bytes that are not UTF-8.")
        sys.exit(EXIT_REFUSED)
    except KeyboardInterrupt:
        sys.exit(130)


def _open_standard_streams() -> None:
    """Open those that are closed: the database must not be what a library takes for standard error."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _say(sentence: str) -> None:
    from .output import safe_lines

    print(f"error: {safe_lines(sentence)}", file=sys.stderr)
