"""The shape of the house: who may import whom, and where SQL, requests, the environment and printing are."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import aiohttp
import aiosqlite
from aiohttp import web

from almirant_webhooks.storage.sqlite.reading_store import SqliteReadingStore

from .house import SOURCE, arrows, imported, nodes, room_of, rooms
from .support import writers

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
    "engines": {"settings", "ops", "storage"},
    "daemon": {"model", "clock", "rules", "settings", "ops", "sending", "delivery", "upkeep", "web", "engines"},
    "process": {"model", "settings", "ops", "storage", "daemon"},
    "demo": {"model", "clock", "rules", "settings", "ops", "storage", "receiver", "daemon"},
    "cli": {
        "model", "clock", "verify", "rules", "settings", "ops", "sending", "storage", "actions", "receiver", "process",
        "demo",
    },
}  # fmt: skip
# Of a room that does more than another needs, the modules that it may use all the same.
ONLY = {
    ("storage", "ops"): {"files", "keys", "sealed_texts", "sealing"},
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
NAMES_AN_ENGINE = {
    "database",
    "doctor",
    "daemon_checks",
    "moving",
    "postgres_checks",
    "postgres_database",
    "root",
    "service",
}
# Words that the contract does not use for anything of ours (section 1).
NOT_USED = {"hook", "endpoint", "message", "job", "target", "callback", "notification", "manager", "helper", "util"}
# What begins with an underscore and is documented: of named tuples, and of Python; and one attribute of a class of ours.
OF_NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make"}
OURS = {("os", "_exit"), ("own", "_snapshot")}
OF_AIOHTTP = {" import web", " import hdrs, web", ".typedefs import Middleware"}
PURE = {"model", "clock", "verify", "rules"}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE) != Path("__init__.py"))


def is_of_an_engine(name: tuple[str, ...]) -> bool:
    """Tell whether something imported is of one engine, and not of what all of them are."""
    return name[0] == "storage" and name[1] not in ("engine", "records")


def names(path: Path) -> set[str]:
    """Every name and attribute that a file mentions."""
    tree = nodes(path)
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


def test_the_architecture_page_counts_rooms_and_arrows() -> None:
    """As `python -m tests.house` does."""
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    assert f"{len(MAY_IMPORT)} rooms and {sum(map(len, MAY_IMPORT.values()))} arrows" in page
    assert (len(rooms()), len(arrows())) == (len(MAY_IMPORT), sum(map(len, MAY_IMPORT.values())))


def test_no_module_comes_back_to_itself_by_its_imports() -> None:
    """Within a room too: whoever follows an event through the code goes down the house, and never up again."""
    modules = {path.relative_to(SOURCE).with_suffix("").parts: path for path in SOURCE.rglob("*.py")}
    modules = {name[:-1] if name[-1] == "__init__" else name: path for name, path in modules.items()}
    graph = {}
    for module, path in modules.items():
        names = {name[:size] for name in imported(path) for size in range(1, len(name) + 1)}
        graph[module] = {name for name in names & modules.keys() if name != module[: len(name)]}
    TopologicalSorter(graph).prepare()  # raises for a circle


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


def test_a_module_imports_from_the_rooms_below_it_alone() -> None:
    """And the pure ones do no input or output."""
    for path in FILES:
        room = room_of(path)
        for name in imported(path):
            assert name[0] == room or name[0] in MAY_IMPORT[room], (path, name)
            if (allowed := ONLY.get((room, name[0]))) is not None:
                assert name[1] in allowed, (path, name)
        if room in PURE:
            tree = nodes(path)
            modules = {
                alias.name.split(".")[0] for node in tree if isinstance(node, ast.Import) for alias in node.names
            }
            assert modules.isdisjoint({"os", "socket", "sqlite3", "asyncio", "aiohttp", "subprocess"}), path


def test_sql_requests_environment_and_printing_have_one_place_each() -> None:
    """SQL in `storage` (the demo inserts as a producer does), connections in `sending`, environment in `settings`, printing in commands."""
    for path in FILES:
        room, used = room_of(path), names(path)
        if room not in ("storage", "demo"):
            assert used.isdisjoint({"execute", "executemany", "executescript"}), path
        assert used.isdisjoint({"ClientSession", "TCPConnector"}), path
        if room != "sending":
            assert used.isdisjoint({"create_connection", "start_connection"}), path
        if str(path.relative_to(SOURCE)) not in ("settings/loading.py", "ops/logs.py", "ops/systemd.py"):
            assert used.isdisjoint({"environ", "getenv"}), path
        if room not in ("cli", "demo"):
            assert "print" not in used, path


def test_an_engine_s_library_has_one_place() -> None:
    """Outside of `storage/sqlite` nobody knows SQLite's connections, errors and codes; what is raised there is a `StorageError`.

    `aiosqlite` is how the demo inserts, as any producer does.
    """
    for path in FILES:
        if path.is_relative_to(SOURCE / "storage" / "sqlite"):
            continue
        if room_of(path) == "storage" and not path.is_relative_to(SOURCE / "storage" / "mixed"):
            assert not any(name[:2] == ("storage", "sqlite") for name in imported(path)), path
        tree = nodes(path)
        modules = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
        assert "sqlite3" not in modules, path
        assert not any(name == "sqlite3" or name.startswith("SQLITE_") for name in names(path)), path


def test_postgresql_s_driver_has_one_place() -> None:
    """It is not installed everywhere: one module imports it, and says how to install it."""
    for path in FILES:
        tree = nodes(path)
        modules = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
        if path != SOURCE / "storage" / "postgres" / "driver.py":
            assert "psycopg" not in {name.partition(".")[0] for name in modules}, path


def test_of_a_library_only_what_it_documents_is_used() -> None:
    """What begins with an underscore may change with any release, and so may what aiohttp and aiosqlite do not offer."""
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.Attribute):
                of = ast.unparse(node.value)
                is_ours = of in ("self", "cls") or node.attr in OF_NAMED_TUPLES or (of, node.attr) in OURS
                assert is_ours or not re.match("_[a-z]", node.attr), (path, of, node.attr)
                if (library := {"web": web, "aiohttp": aiohttp, "aiosqlite": aiosqlite}.get(of)) is not None:
                    assert node.attr in library.__all__, (path, of, node.attr)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module != "__future__":
                name = ".".join([node.module or "", *(alias.name for alias in node.names)])
                assert not re.search(r"(^|[.])_", name), (path, name)
                if (node.module or "").partition(".")[0] in ("aiohttp", "aiosqlite"):
                    assert ast.unparse(node).removeprefix("from aiohttp") in OF_AIOHTTP, path


def test_the_code_s_own_names_are_the_contract_s() -> None:
    """The contract has words that it does not use, and for each thing another one. Other services' are theirs, and so are a chat's messages."""
    for path in FILES:
        if path.is_relative_to(SOURCE / "rules" / "imports") or path.stem in ("messages", "presets"):
            continue
        names = {path.stem}
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
        used = {
            name for name in names if NOT_USED & {part.lower().rstrip("s") for part in re.findall("[A-Z]?[a-z]+", name)}
        }
        # An exception's text, and what httptools calls.
        assert used <= {"message", "on_message_begin", "on_message_complete"}, path


def test_what_sends_knows_nothing_of_the_web_server() -> None:
    """It turns one request into a result."""
    for path in sorted((SOURCE / "sending").glob("*.py")):
        assert "aiohttp" not in path.read_text(), path


FACES = [path for path in FILES if room_of(path) in ("web", "cli")]


def test_statements_that_every_engine_runs_know_none() -> None:
    """`storage/sql` is given a session; files, connections, locks and the outbox are each engine's own."""
    for path in sorted((SOURCE / "storage" / "sql").glob("*.py")):
        known = {name[1] for name in imported(path) if name[0] == "storage"}
        assert known <= {"sql", "engine", "records", "outbox_rows", "turns"}, path
        assert "sqlite3" not in names(path), path


WRITERS = writers.writers(SOURCE / "storage")
# `doctor` tries an INSERT and rolls it back, one counts what would be removed, one prints SQL, and one writes a copy alone. The
# store of actions is handed to them, and asked for nothing.
HARMLESS = {
    ("trial", "insert"),
    ("trial", "mark"),
    ("retention", "count"),
    ("migrate", "outbox_sql"),
    ("backup", "copy"),
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


def test_a_face_changes_nothing_but_by_an_action() -> None:
    """Command, API and pages parse, call and show: they mention no function of the storage that writes, and no SQL."""
    for path in FACES:
        tree = ast.parse(path.read_text())
        assert set(writers.used(tree, writers.imported(tree))) & WRITERS <= HARMLESS, path


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


def test_a_face_hands_the_actions_their_store_and_asks_nothing_of_it() -> None:
    """Its functions write without a check, and without an entry of who did it."""
    for path in FACES:
        uses = [node for node in nodes(path) if isinstance(node, ast.Attribute)]
        assert not [node for node in uses if node.attr == "store" and isinstance(node.ctx, ast.Load)], path


def test_a_face_holds_no_rule() -> None:
    """What a value may be, the actions ask: a face imports no check of one, and neither `validation` nor `urls`.

    `cli/receiver.py` is for the author of a receiver, who has no webhook: it checks a secret by itself.
    """
    for path in FACES:
        rules = {name for name in imported(path) if name[0] in ("model", "rules")}
        checks = {name for name in rules if name[-1].startswith("check_") or name[1] in ("validation", "urls")}
        assert checks == set(), path
        assert path.name == "receiver.py" or ("rules", "signing") not in {name[:2] for name in rules}, path


def test_queries_take_their_time_from_their_caller() -> None:
    """No module of `storage` reads the clock."""
    for path in (SOURCE / "storage").rglob("*.py"):
        calls = {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}
        assert calls.isdisjoint({"clock.now", "datetime.now", "time.time"}), path


def test_the_rules_take_their_time_from_their_caller() -> None:
    """A rule is the same at any time: `now` is a parameter."""
    for path in (SOURCE / "rules").rglob("*.py"):
        calls = {ast.unparse(node.func) for node in nodes(path) if isinstance(node, ast.Call)}
        assert calls.isdisjoint({"clock.now", "datetime.now", "time.time"}), path


def test_files_are_of_a_size_that_a_reader_likes() -> None:
    """At most 300 lines, functions of at most 60."""
    for path in FILES:
        assert path.read_text().count("\n") <= 300, path
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 60, (path, node.name, lines)
