"""Count the house: `python -m tests.house` prints its rooms, what is in each, and how large the delivery loop is.

`python -m tests.house FILE...` counts these files, of another release say, as the loop's are counted.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "almirant_webhooks"
COLUMNS = ("files", "code", "prose", "imports", "blank", "other")
OTHER = {".html", ".sql", ".css", ".js"}
LARGE = ("storage", "web")  # rooms of which each folder has a line


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Return a file's code, node by node; it is read once."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def room_of(path: Path) -> str:
    """The module at the root, or the folder that a file is in."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def lines_of(path: Path) -> Counter[str]:
    """Count a file's lines: code, docstrings and comments (`prose`), imports, and blank ones; all of a template are `other`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix in OTHER:
        return Counter(files=1, other=len(lines))
    kinds = dict.fromkeys(range(1, len(lines) + 1), "code")
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            kinds |= dict.fromkeys(range(node.lineno, (node.end_lineno or 0) + 1), "imports")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            kinds |= dict.fromkeys(range(node.lineno, (node.end_lineno or 0) + 1), "prose")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            kinds[number] = "blank"
        elif line.lstrip().startswith("#"):
            kinds[number] = "prose"
    return Counter(kinds.values()) + Counter(files=1)


def attributes_of(tree: ast.AST) -> Iterator[str]:
    """Yield each attribute that a class sets on itself, once."""
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        uses = (node for node in ast.walk(cls) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
        yield from {node.attr for node in uses if ast.unparse(node.value) == "self"}


def constants_of(tree: ast.Module) -> Iterator[str]:
    """Yield the names of a module's numbers, and of what is computed of numbers."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and not any(isinstance(part, ast.Call) for part in ast.walk(node.value)):
            numbers = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            if numbers and all(isinstance(number, int | float) for number in numbers):
                yield from (goal.id for goal in node.targets if isinstance(goal, ast.Name))
        elif isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("timedelta("):
            yield from (goal.id for goal in node.targets if isinstance(goal, ast.Name))


def imported(path: Path) -> set[tuple[str, ...]]:
    """What a file imports of the project, wherever in it: the words of each name, from the package's root."""
    inside = path.relative_to(SOURCE).parts[:-1]
    names: set[tuple[str, ...]] = set()
    for node in nodes(path):
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


def arrows() -> set[tuple[str, str]]:
    """Return which room imports which."""
    found = {(room_of(path), name[0]) for path in SOURCE.rglob("*.py") for name in imported(path)}
    return {(room, other) for room, other in found if room != other}


def rooms() -> set[str]:
    """Return the folders and the modules at the root."""
    return {room_of(path) for path in SOURCE.rglob("*.py") if not path.name.startswith("__") or path.parent != SOURCE}


def print_lines(paths: Iterable[Path]) -> None:
    """Print the lines of each room."""
    counts: dict[str, Counter[str]] = {}
    for path in paths:
        parts = path.relative_to(SOURCE).parts
        name = "/".join(parts[: 2 if parts[0] in LARGE and len(parts) > 2 else 1])
        counts.setdefault(name, Counter()).update(lines_of(path))
    counts["all"] = sum(counts.values(), Counter())
    print(f"{'room':18}", *(f"{name:>8}" for name in COLUMNS))
    for name, count in counts.items():
        print(f"{name:18}", *(f"{count[column]:8,}" for column in COLUMNS))


def print_size(paths: list[Path]) -> None:
    """Print how large some modules are."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    lines = sum((lines_of(path) for path in paths), Counter[str]())
    print(
        f"{len(paths)} modules, {sum(lines.values()) - len(paths)} lines ({lines['code']} of code),",
        f"{sum(len(list(attributes_of(tree))) for tree in trees)} attributes,",
        f"{sum(len(list(constants_of(tree))) for tree in trees)} numbers with a name",
    )


def main() -> None:
    """Print all of it, or the size of the files that are named."""
    if sys.argv[1:]:
        print_size([Path(name) for name in sys.argv[1:]])
        return
    print(f"{len(rooms())} rooms, {len(arrows())} arrows")
    print_lines(sorted(path for path in SOURCE.rglob("*") if path.suffix in OTHER | {".py"}))
    print("delivery:", end=" ")
    print_size([path for path in sorted((SOURCE / "delivery").glob("*.py")) if path.name != "__init__.py"])


if __name__ == "__main__":
    main()
