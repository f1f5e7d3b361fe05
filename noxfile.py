"""The checks of `.ci/run` by name: `nox -s fast` runs one of them, `nox` alone those of a quick look, `nox --list` shows all.

They run in the environment that nox is installed in. Words after `--` go to the check's command:
`nox -s fast -- -k signing`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "fast"]

# So that the programs beside this Python are found in an environment that is not activated, too.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


@nox.session
def lint(session: nox.Session) -> None:
    """Style: 1 s."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strict, of the tests too: 30 s, less when little has changed."""
    session.run("mypy", *session.posargs)


@nox.session
def fast(session: nox.Session) -> None:
    """Tests that take less than half a second each and need Python alone: below a minute."""
    session.run("pytest", "-q", "-m", "fast", *session.posargs)


@nox.session
def postgres(session: nox.Session) -> None:
    """What PostgreSQL does as an engine, over a server: 1 min."""
    session.run("pytest", "-q", "tests/storage/postgres", "tests/storage/conformance", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but the slow ones: 4 min; what the machine lacks is skipped."""
    session.run("pytest", "-q", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Power losses, browsers, other languages, as root: 15 min."""
    session.run("pytest", "-q", "-m", "slow and not alone and not postgres_engine", "-n", "2", *session.posargs)


@nox.session(name="slow-postgres")
def slow_postgres(session: nox.Session) -> None:
    """The tests that run over a file once more with everything in PostgreSQL: 12 min."""
    session.run("pytest", "-q", "-m", "slow and not alone and postgres_engine", "-n", "2", *session.posargs)


@nox.session
def alone(session: nox.Session) -> None:
    """Kills, a booted Debian, as root, on a machine that does nothing else: 8 min."""
    session.run("pytest", "-q", "-m", "alone", "-n", "0", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The README and the docs, held against the code: what they tell to run is run."""
    session.run("pytest", "-q", "tests/docs", *session.posargs)


@nox.session(name="bench-quick")
def bench_quick(session: nox.Session) -> None:
    """Every benchmark, short, to see that it runs: 3 min."""
    session.run("python", "-m", "tests.bench", "all", "--quick", *session.posargs)
