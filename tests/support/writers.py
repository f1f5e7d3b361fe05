"""Which functions of the storage write: found in their source, those that call such a function included."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

_WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER)\s|incremental_vacuum", re.MULTILINE)

# A module's name, and the function's or class's.
Name = tuple[str, str]

# What runs scripts, whose statements are in files of their own.
_SCRIPTS = {("migrate", "_run")}


# Where statements are: those that every engine runs, and SQLite's own.
ROOMS = ("sql", "sqlite")


def imported(tree: ast.AST, *, inside: bool = False) -> dict[str, tuple[str, str]]:
    """Return what a file imports of those rooms: its name for it, to the module and the name there ("" for a module itself).

    `inside` says that the file is in one of them.
    """
    names: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        module = f"storage.{node.module}" if inside and node.level == 2 else node.module or ""
        if not inside or node.level > 1:
            room, _, module = module.removeprefix("storage.").partition(".")
            if room not in ROOMS:
                continue
        for alias in node.names:
            names[alias.asname or alias.name] = (module, alias.name) if module else (alias.name, "")
    return names


def used(tree: ast.AST, names: dict[str, tuple[str, str]]) -> Iterator[Name]:
    """Yield the functions and classes of other modules that a piece of source mentions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and names[node.id][1]:
            yield names[node.id]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            module, name = names[node.value.id]
            if not name:
                yield module, node.attr


def _statements(tree: ast.AST) -> Iterator[str]:
    """Yield every text but docstrings."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def writers(storage: Path) -> set[Name]:
    """Return the functions and classes of the storage's modules that write rows or tables."""
    found = set(_SCRIPTS)
    mentions: dict[Name, set[Name]] = {}
    for path in (file for room in ROOMS for file in (storage / room).glob("*.py")):
        tree = ast.parse(path.read_text())
        names = imported(tree, inside=True)
        own = {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                own[node.targets[0].id] = node  # type: ignore[assignment]
        names |= {name: (path.stem, name) for name in own}
        for name, node in own.items():
            mentions[path.stem, name] = set(used(node, names))
            if any(_WRITES.search(text) for text in _statements(node)):
                found.add((path.stem, name))
    while more := {name for name, others in mentions.items() if name not in found and others & found}:
        found |= more
    return found
