"""The shape of the house: who may import whom, and where SQL, requests, the environment and printing are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "almirant_webhooks"

# From the ground up: a module imports from its own row and from rows above it in this list alone.
ROWS = (
    (
        "pure",
        {
            "model",
            "clock",
            "retry",
            "verify",
            "signing",
            "event_types",
            "addresses",
            "egress",
            "fairness",
            "access",
            "decoding",
            "lines",
            "selection",
        },
    ),
    ("settings", {"settings", "config", "logs", "systemd", "validation", "keys", "threads", "files"}),
    ("storage", {"db"}),
    (
        "work",
        {
            "metrics",
            "heartbeat",
            "sending",
            "limits",
            "ours",
            "tasks",
            "shortage",
            "outage",
            "troubles",
            "reports",
            "delivery",
            "watcher",
            "guard",
            "pruner",
            "resender",
            "observer",
        },
    ),
    ("face", {"web", "receiver"}),
    ("roots", {"daemon", "process", "demo", "cli"}),
)
LEVEL = {module: level for level, (_, modules) in enumerate(ROWS) for module in modules}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE) != Path("__init__.py"))


def part_of(path: Path) -> str:
    """The module, or the folder that it is in."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The parts of the project that a file imports, wherever in it."""
    inside = path.relative_to(SOURCE).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*inside[: len(inside) - node.level + 1], *(node.module or "").split(".")]
            base = [word for word in base if word]
            found |= {base[0]} if base else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("almirant_webhooks"):
            found.add((node.module or "").split(".")[1])
    return found


def names(path: Path) -> set[str]:
    """Every name and attribute that a file mentions."""
    tree = ast.walk(ast.parse(path.read_text()))
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in tree
        if isinstance(node, ast.Name | ast.Attribute)
    }


def test_every_module_has_its_row() -> None:
    """A new one is given a place before it is used."""
    assert {part_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_its_own_row_and_those_above_alone(path: Path) -> None:
    """And the pure ones do no I/O."""
    own = LEVEL[part_of(path)]
    assert {part for part in imported(path) if LEVEL[part] > own} == set()
    if own == 0:
        tree = ast.walk(ast.parse(path.read_text()))
        modules = {alias.name.split(".")[0] for node in tree if isinstance(node, ast.Import) for alias in node.names}
        assert modules.isdisjoint({"os", "socket", "sqlite3", "asyncio", "aiohttp", "subprocess"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_sql_requests_environment_and_printing_have_one_place_each(path: Path) -> None:
    """SQL in `db` (the demo inserts as a producer does), connections in `sending`, environment in settings, printing in commands."""
    part = part_of(path)
    used = names(path)
    if part not in ("db", "demo"):
        assert used.isdisjoint({"execute", "executemany", "executescript"})
    assert used.isdisjoint({"ClientSession", "TCPConnector"})
    if part != "sending":
        assert used.isdisjoint({"create_connection", "start_connection"})
    if part not in ("config", "logs", "systemd"):
        assert used.isdisjoint({"environ", "getenv"})
    if part not in ("cli", "demo"):
        assert "print" not in used


@pytest.mark.parametrize("path", sorted((SOURCE / "sending").glob("*.py")), ids=lambda path: path.name)
def test_what_sends_knows_no_storage_and_nothing_of_the_web_server(path: Path) -> None:
    """It turns one request into a result: of the project it imports values and rules alone."""
    assert {part for part in imported(path) - {"sending", "threads", "ours"} if LEVEL[part] > 0} == set()
    assert "aiohttp" not in path.read_text()


def test_queries_take_their_time_from_their_caller() -> None:
    """No module of `db` reads the clock, and query functions neither begin nor commit."""
    for path in (SOURCE / "db").rglob("*.py"):
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        assert calls.isdisjoint({"clock.now", "datetime.now", "time.time"}), path


def test_files_are_of_a_size_that_a_reader_likes() -> None:
    """At most 300 lines, functions of at most 60."""
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 70, (path, node.name)
