"""The checks have the same words wherever they are named: `.ci/run`, the task runner, the hooks before a commit, CONTRIBUTING."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .support import needs

HERE = Path(__file__).parents[1]
PROGRAMS = {"ruff", "mypy", "pytest", "python"}
WRAPPERS = {"in_time", ".ci/tests"}  # words of `.ci/run` before a check
HOOKS = (HERE / ".pre-commit-config.yaml").read_text()
CONTRIBUTING = (HERE / "CONTRIBUTING.md").read_text()
Command = tuple[str, ...]


def of_ci() -> list[Command]:
    """The checks of `.ci/run` and `.ci/newest`, in their order; the newest libraries' programs are called by their paths."""
    text = "\n".join((HERE / ".ci" / name).read_text() for name in ("run", "newest")).replace("\\\n", "")
    lines = [[word for word in shlex.split(line, comments=True) if word not in WRAPPERS] for line in text.splitlines()]
    return [(Path(words[0]).name, *words[1:]) for words in lines if words and Path(words[0]).name in PROGRAMS]


def of_nox() -> dict[str, list[Command]]:
    """The commands of each session of `noxfile.py`, without the words that a caller adds."""
    sessions: dict[str, list[Command]] = {}
    for node in ast.parse((HERE / "noxfile.py").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            calls = [call for call in ast.walk(node) if isinstance(call, ast.Call)]
            runs = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "run"]
            sessions[node.name.replace("_", "-")] = [
                tuple(str(word.value) for word in run.args if isinstance(word, ast.Constant)) for run in runs
            ]
    return sessions


def of_hooks() -> list[str]:
    """The command of each hook."""
    return re.findall(r"^ +entry: (.+)$", HOOKS, re.MULTILINE)


def run(*words: str, path: str | None = None) -> str:
    """Run a command at the root of the project; return what it printed."""
    here = str(Path(sys.executable).parent)
    env = {**os.environ, "PATH": os.pathsep.join([here, os.environ["PATH"]]) if path is None else path}
    done = subprocess.run(words, cwd=HERE, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def beside(name: str) -> str:
    """Return the path of a program of the extra `dev`."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else needs.program(name)


def test_every_check_of_ci_is_a_session_in_the_same_words() -> None:
    """And the other way round: what a session runs is what CI runs. The session `docs` is a part of the tests."""
    sessions = of_nox()
    assert sessions.pop("docs") == [("pytest", "-q", "tests/docs")]
    assert sorted(command for commands in sessions.values() for command in commands) == sorted(of_ci())
    assert sessions.keys() == {
        "lint",
        "types",
        "fast",
        "postgres",
        "tests",
        "slow",
        "slow-postgres",
        "alone",
        "bench-quick",
    }


def test_the_hooks_are_what_ci_runs_before_the_tests() -> None:
    """In the same words and order."""
    sessions = of_nox()
    assert [tuple(shlex.split(hook)) for hook in of_hooks()] == sessions["lint"] + sessions["types"] == of_ci()[:3]


def test_a_hook_fetches_nothing() -> None:
    """It calls what is installed, for the whole project."""
    assert re.findall(r"repo: (.+)", HOOKS) == ["local"]
    for line in ("language: system", "pass_filenames: false"):
        assert HOOKS.count(line) == len(of_hooks()) == 3


def test_contributing_has_a_line_for_each_session_with_its_command() -> None:
    """And names no session that is not there."""
    rows = dict(re.findall(r"^\| `nox -s ([\w-]+)` \| `(.+?)` \|", CONTRIBUTING, re.MULTILINE))
    assert rows == {name: " && ".join(map(shlex.join, commands)) for name, commands in of_nox().items()}


def test_the_constraints_are_names_and_versions_alone() -> None:
    """So that they hold with whatever index a machine has."""
    lines = (HERE / ".ci" / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[a-z0-9.]+", line) for line in lines)


@pytest.mark.long
def test_the_task_runner_lists_each_session_with_what_it_is() -> None:
    """A session has the name by which CONTRIBUTING calls it."""
    listed = run(beside("nox"), "--list")
    for name in of_nox():
        assert re.search(rf"^[*-] {name} -> \S+", listed, re.MULTILINE), name


@pytest.mark.long
def test_a_session_needs_no_activated_environment() -> None:
    """It finds the programs beside the Python that runs it."""
    run(beside("nox"), "-s", "lint", path="/usr/bin:/bin")


@pytest.mark.long
def test_the_hooks_are_what_pre_commit_reads() -> None:
    """By its own check."""
    run(beside("pre-commit"), "validate-config", ".pre-commit-config.yaml")


@pytest.mark.parametrize(
    "hook", [pytest.param(hook, marks=pytest.mark.slow if hook == "mypy" else pytest.mark.long) for hook in of_hooks()]
)
def test_the_command_of_each_hook_runs(hook: str) -> None:
    """And has nothing to say of the project as it is."""
    run(*shlex.split(hook))


FAILS_AT_FIRST = """
from pathlib import Path

def test_it():
    seen = Path(__file__).with_name("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError
"""
FAILS = "def test_it():\n    assert False\n"
PASSES = "def test_it():\n    pass\n"


@pytest.mark.long
@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ([PASSES], 0, "1 passed"),
        ([PASSES, FAILS_AT_FIRST], 0, "PASSED BY ITSELF ALONE, to be mended:\nproject_1/test_it.py::test_it"),
        ([PASSES, FAILS_AT_FIRST, FAILS], 1, "once more by itself"),
        ([FAILS_AT_FIRST] * 4, 1, "4 failed"),
        ([], 5, "no tests ran"),
    ],
)
def test_what_failed_runs_once_more_by_itself_and_is_named(
    files: list[str], code: int, said: str, tmp_path: Path
) -> None:
    """A test that fails again is an error, and so are more than three that passed by themselves alone."""
    for number, source in enumerate(files):
        folder = tmp_path / f"project_{number}"
        folder.mkdir()
        (folder / "test_it.py").write_text(source)
        (folder / "__init__.py").touch()
    words: list[str | Path] = [
        HERE / ".ci" / "tests",
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "--rootdir",
        tmp_path,
        tmp_path,
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
