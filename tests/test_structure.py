"""The shape of the house: who may import whom, and where SQL, requests, the environment and printing are."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

from almirant_webhooks.storage.sqlite.reading_store import SqliteReadingStore

from .support import writers

SOURCE = Path(__file__).parents[1] / "src" / "almirant_webhooks"

# A room is a folder, or a module at the root. What each may import, from the ground up: a room stands below all that
# import it, so that no two rooms need each other. Whoever adds an arrow says why in the commit.
MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "clock": set(),
    "verify": set(),
    "rules": {"model", "clock", "verify"},
    "settings": {"model", "clock", "rules"},
    "ops": {"model", "settings"},
    "sending": {"model", "clock", "rules", "ops"},
    "storage": {"model", "clock", "rules", "ops"},
    "delivery": {"model", "clock", "rules", "ops", "sending", "storage"},
    "upkeep": {"model", "clock", "settings", "ops", "storage"},
    "actions": {"model", "clock", "rules", "settings", "ops", "storage"},
    "web": {"model", "clock", "rules", "settings", "ops", "storage", "actions"},
    "client": {"model", "rules", "storage", "web"},  # their types alone
    "receiver": {"model", "verify"},
    "daemon": {"clock", "rules", "settings", "ops", "sending", "storage", "delivery", "upkeep", "web"},
    "process": {"model", "settings", "ops", "storage", "daemon"},
    "demo": {"model", "clock", "rules", "settings", "ops", "storage", "receiver", "daemon"},
    "cli": {
        "model", "clock", "verify", "rules", "settings", "ops", "sending", "storage", "actions", "receiver", "process",
        "demo",
    },
}  # fmt: skip
# Of a room that does more than another needs, the modules that it may use all the same.
ONLY = {
    ("storage", "ops"): {"files", "sealed_texts", "sealing"},
    ("sending", "ops"): {"threads"},
    ("delivery", "ops"): {"metrics"},
    ("delivery", "storage"): {"engine"},
    ("process", "storage"): {"engine"},
    ("delivery", "sending"): {"sender", "causes", "own_faults", "proxy_answers"},
    ("cli", "sending"): {"proxy_answers", "resolver", "tunnels"},
    ("upkeep", "storage"): {"engine"},
    ("upkeep", "ops"): {"heartbeat", "metrics"},
    ("actions", "storage"): {"engine", "records"},
    ("actions", "ops"): {"keys", "sealing"},
    ("web", "ops"): {"keys", "metrics", "threads"},
    ("web", "storage"): {"engine", "records"},
}
# Modules of the commands that may name an engine: the one that opens it for all others, and SQLite's own administration.
NAMES_AN_ENGINE = {"database", "doctor", "daemon_checks", "root", "service"}
PURE = {"model", "clock", "verify", "rules"}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE) != Path("__init__.py"))


def room_of(path: Path) -> str:
    """The module at the root, or the folder that a file is in."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[tuple[str, ...]]:
    """What a file imports of the project, wherever in it: the words of each name, from the package's root."""
    inside = path.relative_to(SOURCE).parts[:-1]
    names: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {tuple(alias.name.split(".")[1:]) for alias in node.names if alias.name.startswith(SOURCE.name)}
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".") if node.module else []
            if node.level:
                base = [*inside[: len(inside) - node.level + 1], *module]
            elif module[:1] == [SOURCE.name]:
                base = module[1:]
            else:
                continue
            names |= {(*base, alias.name) for alias in node.names}
    return names


def is_of_an_engine(name: tuple[str, ...]) -> bool:
    """Tell whether something imported is of one engine, and not of what all of them are."""
    return name[0] == "storage" and name[1] not in ("engine", "records")


def names(path: Path) -> set[str]:
    """Every name and attribute that a file mentions."""
    tree = ast.walk(ast.parse(path.read_text()))
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in tree
        if isinstance(node, ast.Name | ast.Attribute)
    }


def test_every_room_has_its_line_in_the_table() -> None:
    """A new one is given a place before it is used, and what is gone leaves no line."""
    assert {room_of(path) for path in FILES} - {"__main__"} == MAY_IMPORT.keys()


def test_a_room_stands_on_rooms_of_earlier_lines() -> None:
    """So there is no circle, whatever is added."""
    lines = list(MAY_IMPORT)
    for at, (room, others) in enumerate(MAY_IMPORT.items()):
        assert others <= set(lines[:at]), room


def test_every_arrow_of_the_table_is_used() -> None:
    """What nobody needs any more may not come back unnoticed."""
    arrows: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    parts: dict[tuple[str, str], set[str]] = {arrow: set() for arrow in ONLY}
    for path in FILES:
        room = room_of(path)
        for name in imported(path):
            if name[0] != room:
                arrows[room].add(name[0])
                parts.get((room, name[0]), set()).add(name[1] if len(name) > 1 else "")
    assert arrows == MAY_IMPORT
    assert parts == ONLY


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_from_the_rooms_below_it_alone(path: Path) -> None:
    """And the pure ones do no input or output."""
    room = room_of(path)
    for name in imported(path):
        assert name[0] == room or name[0] in MAY_IMPORT[room], name
        if (allowed := ONLY.get((room, name[0]))) is not None:
            assert name[1] in allowed, name
    if room in PURE:
        tree = ast.walk(ast.parse(path.read_text()))
        modules = {alias.name.split(".")[0] for node in tree if isinstance(node, ast.Import) for alias in node.names}
        assert modules.isdisjoint({"os", "socket", "sqlite3", "asyncio", "aiohttp", "subprocess"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_sql_requests_environment_and_printing_have_one_place_each(path: Path) -> None:
    """SQL in `storage` (the demo inserts as a producer does), connections in `sending`, environment in `settings`, printing in commands."""
    room, used = room_of(path), names(path)
    if room not in ("storage", "demo"):
        assert used.isdisjoint({"execute", "executemany", "executescript"})
    assert used.isdisjoint({"ClientSession", "TCPConnector"})
    if room != "sending":
        assert used.isdisjoint({"create_connection", "start_connection"})
    if str(path.relative_to(SOURCE)) not in ("settings/loading.py", "ops/logs.py", "ops/systemd.py"):
        assert used.isdisjoint({"environ", "getenv"})
    if room not in ("cli", "demo"):
        assert "print" not in used


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_an_engine_s_library_has_one_place(path: Path) -> None:
    """Outside of `storage/sqlite` nobody knows SQLite's connections, errors and codes; what is raised there is a `StorageError`.

    `aiosqlite` is how the demo inserts, as any producer does.
    """
    if path.is_relative_to(SOURCE / "storage" / "sqlite"):
        return
    assert room_of(path) != "storage" or not any(name[:2] == ("storage", "sqlite") for name in imported(path))
    tree = list(ast.walk(ast.parse(path.read_text())))
    modules = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
    assert "sqlite3" not in modules
    assert not any(name == "sqlite3" or name.startswith("SQLITE_") for name in names(path))


@pytest.mark.parametrize("path", sorted((SOURCE / "sending").glob("*.py")), ids=lambda path: path.name)
def test_what_sends_knows_nothing_of_the_web_server(path: Path) -> None:
    """It turns one request into a result."""
    assert "aiohttp" not in path.read_text()


FACES = [path for path in FILES if room_of(path) in ("web", "cli")]
WRITERS = writers.writers(SOURCE / "storage" / "sqlite")
# `doctor` tries an INSERT and rolls it back, one counts what would be removed, and one prints SQL. The store of actions is
# handed to them, and asked for nothing.
HARMLESS = {
    ("trial", "insert"),
    ("trial", "mark"),
    ("retention", "count"),
    ("migrate", "outbox_sql"),
    ("action_store", "SqliteActionStore"),
}


def test_what_writes_is_known_by_its_statements() -> None:
    """Functions that read are not among it."""
    for name in (("webhooks", "create"), ("rotation", "reveal"), ("retention", "Sweep"), ("outbox", "insert"), ("migrate", "migrate")):  # fmt: skip
        assert name in WRITERS
    for name in (("webhooks", "get"), ("log", "delivery"), ("resends", "count"), ("outbox", "open_outbox"), ("connection", "open_reader")):  # fmt: skip
        assert name not in WRITERS


def test_of_the_faces_only_what_administers_sqlite_knows_an_engine() -> None:
    """All other commands, the pages and the API read by `ReadingStore` and change by actions."""
    engines = {(room_of(path), path.stem) for path in FACES if any(is_of_an_engine(name) for name in imported(path))}
    assert engines == {("cli", module) for module in NAMES_AN_ENGINE}


@pytest.mark.parametrize("path", FACES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_face_changes_nothing_but_by_an_action(path: Path) -> None:
    """Command, API and pages parse, call and show: they mention no function of the storage that writes, and no SQL."""
    tree = ast.parse(path.read_text())
    assert set(writers.used(tree, writers.imported(tree, "storage.sqlite"))) & WRITERS <= HARMLESS


def test_what_faces_read_by_writes_nothing() -> None:
    """The protocols of `ReadingStore` have no function that writes in SQLite's modules."""
    functions = {
        (part.__name__.rpartition(".")[2], name)
        for attribute, protocol in get_type_hints(SqliteReadingStore).items()
        if isinstance(part := getattr(SqliteReadingStore, attribute), ModuleType)
        for name in vars(protocol)
        if not name.startswith("_")
    }
    assert ("log", "delivery") in functions
    assert functions & WRITERS <= HARMLESS


@pytest.mark.parametrize("path", FACES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_face_hands_the_actions_their_store_and_asks_nothing_of_it(path: Path) -> None:
    """Its functions write without a check, and without an entry of who did it."""
    uses = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    assert not [node for node in uses if node.attr == "store" and isinstance(node.ctx, ast.Load)]


@pytest.mark.parametrize("path", FACES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_face_holds_no_rule(path: Path) -> None:
    """What a value may be, the actions ask: a face imports no check of one, and neither `validation` nor `urls`.

    `cli/receiver.py` is for the author of a receiver, who has no webhook: it checks a secret by itself.
    """
    rules = {name for name in imported(path) if name[0] in ("model", "rules")}
    assert {name for name in rules if name[-1].startswith("check_") or name[1] in ("validation", "urls")} == set()
    assert path.name == "receiver.py" or ("rules", "signing") not in {name[:2] for name in rules}


def test_queries_take_their_time_from_their_caller() -> None:
    """No module of `storage` reads the clock."""
    for path in (SOURCE / "storage").rglob("*.py"):
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        assert calls.isdisjoint({"clock.now", "datetime.now", "time.time"}), path


def test_the_rules_take_their_time_from_their_caller() -> None:
    """A rule is the same at any time: `now` is a parameter."""
    for path in (SOURCE / "rules").rglob("*.py"):
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        assert calls.isdisjoint({"clock.now", "datetime.now", "time.time"}), path


def test_files_are_of_a_size_that_a_reader_likes() -> None:
    """At most 300 lines, functions of at most 60."""
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 60, (path, node.name, lines)
