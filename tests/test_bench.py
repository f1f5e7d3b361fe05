"""The benchmarks' own machinery: another release by turns, and producers that insert as fast as they can."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from .bench import __main__ as command
from .bench import bracketed
from .bench.daemon import Bench, check_rows
from .bench.filling import fill_due
from .bench.flood import flood
from .bench.release import FIRST, HERE, Release, opened
from .bench.steady import NoEvent
from .bench.table import Figure, Sizes
from .bench.turns import Turns


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A second checkout: this tree once more, with the environment that runs the tests."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name, place in {".venv": Path(sys.prefix), "src": HERE / "src", "tests": HERE / "tests"}.items():
        (folder / name).symlink_to(place)
    return folder


@pytest.fixture
def release(checkout: Path) -> Iterator[Release]:
    with opened(checkout) as there:
        assert there is not None
        yield there


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tests.bench", *words], cwd=HERE, capture_output=True, text=True)


@pytest.mark.long
def test_a_release_makes_and_fills_its_tables_itself(release: Release, tmp_path: Path) -> None:
    """By its own command and the benchmarks of its own checkout, whatever its schema is; only the outbox is one to all."""
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench", release=release, own_outbox=True)
    made = bench.add_webhooks("http://127.0.0.1:9", 3, projects=2, project="shop")
    fill_due(bench, made, 5, within=60)
    bench.insert(4, projects=2, project="shop")
    assert bench.read("SELECT count(*), count(DISTINCT project_id) FROM webhooks") == (3, 2)
    assert bench.read("SELECT count(*), count(DISTINCT webhook_id) FROM deliveries WHERE state = 'pending'") == (5, 3)
    with closing(sqlite3.connect(bench.outbox)) as conn, conn:
        assert conn.execute("SELECT count(*) FROM outbox").fetchone() == (4,)
    conn.close()


@pytest.mark.long
def test_a_run_that_does_not_count_is_refused_by_the_release_too(release: Release, tmp_path: Path) -> None:
    """What its own check says ends the run here, in a sentence with its name."""
    (tmp_path / "bench").mkdir()
    with pytest.raises(SystemExit, match=rf"^{release.version}.*: None of 0 attempts are recorded as a whole"):
        check_rows(Bench(tmp_path / "bench", release=release), 1)


@pytest.mark.long
def test_the_ratio_is_that_of_pairs_and_the_first_of_a_pair_changes(release: Release) -> None:
    """A machine that gets slower meanwhile slows both of a pair down; what is to be reached is said of 0.1.0 alone."""
    order: list[bool] = []

    def measure(side: Release | None) -> float:
        order.append(side is None)
        return {0: 100, 1: 50, 2: 10}[(len(order) - 1) // 2] * (3.0 if side is None else 2.0)

    first = replace(release, commit=FIRST)
    for beside, reach in ((release, ""), (first, "≥ 1.5 times")):
        order.clear()
        turns: Turns[float] = Turns(beside)
        for _ in range(3):
            turns.take(measure)
        assert order == [True, False, False, True, True, False]
        (figure,) = turns.compared("rate", lambda rate: rate, "{:.0f}/s", least=1.5)
        assert (figure.value, figure.beside) == ("150/s", "100/s: 1.50 times (1.50 to 1.50)")
        assert (figure.reach, figure.reached) == (reach, True if reach else None)


def test_without_another_release_nothing_is_compared() -> None:
    """Each is measured once a round, as ever."""
    turns: Turns[float] = Turns(None)
    turns.take(lambda side: 1.0 if side is None else 0.0)
    assert (turns.this, turns.that) == ([1.0], [])
    assert list(turns.compared("rate", lambda rate: rate, "{:.0f}/s")) == []


def test_a_part_without_an_event_ends_a_measurement_but_no_quick_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before it stays in the table, and the parts after it follow; what else does not count ends both."""
    first = Figure("first", "1/s", "2/s")

    def part(error: SystemExit) -> Callable[[Sizes], Iterator[Figure]]:
        def figures(_: Sizes) -> Iterator[Figure]:
            yield first
            raise error

        return figures

    monkeypatch.setitem(command.PARTS, "late", part(NoEvent("No event came.")))
    monkeypatch.setitem(command.PARTS, "wrong", part(SystemExit("1 of 2 events did not arrive.")))
    assert list(command.measured("late", Sizes(quick=True))) == [
        first,
        Figure("late", "not measured", "No event came."),
    ]
    for name, quick in (("late", False), ("wrong", True), ("wrong", False)):
        with pytest.raises(SystemExit):
            list(command.measured(name, Sizes(quick)))


@pytest.mark.long
def test_every_insert_of_a_flood_is_counted(tmp_path: Path) -> None:
    """Of all producers, in order of what they took; the projects take turns."""
    bench = Bench(tmp_path, own_outbox=True)
    produced = flood(bench.outbox, 3, 0.2, projects=4)
    with closing(sqlite3.connect(bench.outbox)) as conn, conn:
        rows, projects = conn.execute("SELECT count(*), count(DISTINCT project_id) FROM outbox").fetchone()
    conn.close()
    assert rows == len(produced.inserts) > 0
    assert projects == min(rows, 4)
    assert produced.inserts == sorted(produced.inserts)
    assert produced.begin < produced.end


@pytest.mark.long
def test_what_cannot_be_measured_by_turns_is_said(checkout: Path, tmp_path: Path) -> None:
    """Before anything is measured, with the way out of it."""
    cases: list[tuple[list[str | Path], str]] = [
        (
            ["call", "--beside", tmp_path],
            "has no .venv/bin/python. `python -m tests.bench release COMMIT FOLDER` makes",
        ),
        (["idle", "pages", "--beside", checkout], "idle, pages cannot be measured by turns: leave --beside out for it"),
        (["release", FIRST, checkout], "is there already: name a folder that is not"),
    ]
    for words, said in cases:
        done = _run(*words)
        assert done.returncode != 0
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_an_environment_of_another_checkout_is_not_measured(checkout: Path) -> None:
    """A `.venv` that runs other code than the folder's would give figures of something else."""
    (checkout / "src").unlink()
    (checkout / "src").mkdir()
    with pytest.raises(SystemExit, match=r"which is not under .*: install it with -e"), opened(checkout):
        pass


@pytest.mark.slow
def test_a_tree_is_measured_by_turns_with_another(checkout: Path) -> None:
    """The same benchmark drives both daemons, and prints this, that and their ratio."""
    done = _run("call", "cost", "--quick", "--beside", checkout)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, cost = [line for line in done.stdout.splitlines() if ", by turns with " in line]
    assert " µs: " in cost
    assert len(lines) == 4
    assert all(" ms: " in line and " times |" in line for line in lines)


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, name, _ in bracketed.METHODS])
def test_each_method_whose_time_is_counted_is_there(owner: type, name: str) -> None:
    """They are named by texts, which no check of types follows."""
    assert callable(getattr(owner, name))
