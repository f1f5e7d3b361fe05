"""Which functions of the storage the product calls with a writer's connection, found in its source."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from almirant_webhooks.storage import sql, sqlite
from almirant_webhooks.storage.sqlite.action_store import SqliteActionStore

from ...support import writers


def of_actions() -> set[str]:
    """Names of the functions that people's actions can call."""
    functions = set()
    for name, protocol in get_type_hints(SqliteActionStore).items():
        part = getattr(SqliteActionStore, name)
        if isinstance(part, ModuleType):
            functions |= {f"{part.__name__.split('.')[-1]}.{one}" for one in vars(protocol) if not one.startswith("_")}
    return functions


def called(path: Path) -> set[str]:
    """Names, `module.function`, of what a file has called in a transaction or on a writer's connection."""
    tree = ast.parse(path.read_text())
    modules, functions = _imported(tree, inside=path.parent.name in writers.ROOMS)

    def name(node: ast.expr) -> set[str]:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            return {f"{modules[node.value.id]}.{node.attr}"}
        return {functions[node.id]} if isinstance(node, ast.Name) and node.id in functions else set()

    def with_connection(block: ast.AST) -> set[str]:
        calls = (node for node in ast.walk(block) if isinstance(node, ast.Call) and node.args)
        return set().union(*(name(call.func) for call in calls if ast.unparse(call.args[0]).endswith("conn")))

    found: set[str] = set()
    for node in ast.walk(tree):
        if (isinstance(node, ast.With) and any(_opens(item.context_expr) for item in node.items)) or (
            isinstance(node, ast.FunctionDef) and "cli" not in path.parts and _takes_connection(node)
        ):
            found |= with_connection(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            by, how = ast.unparse(node.func.value), node.func.attr
            if how in ("write", "write_by", "run_in_turn") or (how == "run" and by.endswith(("database", "outbox"))):
                found |= name(node.args[0])
        if isinstance(node, ast.Call):  # a walk, whose steps are taken in transactions
            found |= {one for one in name(node.func) if _is_walk(one)}
    return found


def _imported(tree: ast.AST, *, inside: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return the storage's modules and their functions that a file imports, by the names that they have there."""
    modules, functions = {}, {}
    for name, (module, part) in writers.imported(tree, inside=inside).items():
        if part:
            functions[name] = f"{module}.{part}"
        else:
            modules[name] = module
    return modules, functions


def _opens(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("writing", "transaction")


def _takes_connection(node: ast.FunctionDef) -> bool:
    return "conn" in [argument.arg for argument in node.args.args[:2]]


def _is_walk(name: str) -> bool:
    module, one = name.split(".")
    return any(hasattr(getattr(getattr(room, module, None), one, None), "step") for room in (sql, sqlite))
