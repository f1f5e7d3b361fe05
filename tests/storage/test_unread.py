"""Which rows of the outbox come next."""

from __future__ import annotations

import pytest

from almirant_webhooks.storage.engine import ReadPlan
from almirant_webhooks.storage.sqlite import unread
from almirant_webhooks.storage.sqlite.connection import transaction
from almirant_webhooks.storage.turns import FEW, MOST_BYTES, SMALL

from ..support.steps import Steps

pytestmark = pytest.mark.sqlite


def _insert(steps: Steps, project_id: str, count: int, payload: str = "{}") -> None:
    _insert_all(steps, [(project_id, payload)] * count)


def _insert_all(steps: Steps, rows: list[tuple[str, str]]) -> None:
    with transaction(steps.outbox):
        steps.outbox.executemany(
            "INSERT INTO outbox (project_id, event_type, payload) VALUES (?, 'lead.created', ?)", rows
        )


def _insert_bytes(steps: Steps, *payloads: bytes) -> None:
    with transaction(steps.outbox):
        steps.outbox.executemany(
            "INSERT INTO outbox (project_id, event_type, payload) VALUES ('a', 'lead.created', CAST(? AS TEXT))",
            [(payload,) for payload in payloads],
        )


def _next(steps: Steps, plan: ReadPlan, *, by_project: bool = True) -> list[tuple[int, str]]:
    rows = unread.read_unread(steps.outbox, plan, by_project=by_project)
    return [(row.id, str(row.project_id)) for row in rows]


@pytest.mark.parametrize("by_project", [True, False])
def test_of_each_project_there_are_no_more_rows_than_its_limit(steps: Steps, by_project: bool) -> None:
    """One that may have none is passed by, and what it leaves goes to the others."""
    for project in "abc":
        _insert(steps, project, 4)
    limits = {"a": 0, "b": 1, "c": None}
    rows = _next(steps, ReadPlan(6, limit=limits.__getitem__), by_project=by_project)
    assert rows == [(5, "b"), (9, "c"), (10, "c"), (11, "c"), (12, "c")]


@pytest.mark.parametrize("by_project", [True, False])
def test_projects_take_turns_each_ones_oldest_first(steps: Steps, by_project: bool) -> None:
    """With an index by project, and without one in an outbox of the first schema."""
    for project, count in (("a", 3), ("b", 1), ("c", 2)):
        _insert(steps, project, count)
    expected = [(1, "a"), (4, "b"), (5, "c"), (2, "a"), (6, "c"), (3, "a")]
    assert _next(steps, ReadPlan(10), by_project=by_project) == expected
    assert _next(steps, ReadPlan(4), by_project=by_project) == expected[:4]


def test_a_project_that_inserts_very_much_at_once_is_in_front_of_nobody(steps: Steps) -> None:
    """Another's few, inserted after it or between two of its batches, come next."""
    _insert(steps, "loud", 500)
    _insert(steps, "quiet", 2)
    _insert(steps, "loud", 500)
    assert _next(steps, ReadPlan(6)) == [
        (1, "loud"),
        (501, "quiet"),
        (2, "loud"),
        (502, "quiet"),
        (3, "loud"),
        (4, "loud"),
    ]


def test_a_project_with_few_rows_waits_for_no_turns_of_many_that_have_inserted_much(steps: Steps) -> None:
    """It has as many rows as the plan says before its turn; the others go by turns, as without it."""
    for number in range(40):
        _insert(steps, f"loud{number:02}", FEW)
    _insert(steps, "quiet", FEW // 2)
    noted: set[int] = set()
    plan = ReadPlan(8, "loud10", projects=64, of_few=4, note_few=noted.update)
    read = _next(steps, plan)
    assert [project for _, project in read] == [f"loud{number}" for number in range(11, 15)] + ["quiet"] * 4
    assert noted == {row for row, project in read if project == "quiet"}
    assert [project for _, project in _next(steps, plan._replace(of_few=0))] == [
        f"loud{number}" for number in range(11, 19)
    ]
    assert "quiet" not in [project for _, project in _next(steps, plan._replace(limit=lambda p: int(p != "quiet")))]


def test_of_those_with_few_rows_the_ones_with_the_fewest_come_first(steps: Steps) -> None:
    """A backlog that ends is in no other's way either. The rest goes by turns of all, with what is left of those."""
    for project, count in (("a", 8), ("b", 6), ("c", 8), ("d", 2), ("e", 1), ("f", 3)):
        _insert(steps, project, count)
    read = [project for _, project in _next(steps, ReadPlan(8, projects=64, of_few=2))]
    assert read == list("abcdefa" + "d")
    read = [project for _, project in _next(steps, ReadPlan(8, projects=64, of_few=4))]
    assert read == list("abcdfa" + "ed")


def test_where_all_have_much_the_same_they_take_turns(steps: Steps) -> None:
    """None of them is one that has few."""
    for project in "abcd":
        _insert(steps, project, 6)
    assert "".join(project for _, project in _next(steps, ReadPlan(6, projects=64, of_few=3))) == "abcdab"


def test_the_next_turn_is_that_of_the_project_behind_the_last(steps: Steps) -> None:
    """And around: where not all have a row in one batch, none is left out for ever."""
    for project in "abcde":
        _insert(steps, project, 2)
    turns, after = [], ""
    for _ in range(5):
        rows = _next(steps, ReadPlan(2, after))
        turns.append("".join(project for _, project in rows))
        after = rows[-1][1]
    assert turns == ["ab", "cd", "ea", "bc", "de"]
    assert _next(steps, ReadPlan(2, "zzz")) == _next(steps, ReadPlan(2, ""))


@pytest.mark.parametrize("plan", [ReadPlan(32), ReadPlan(32, projects=64, of_few=16)])
def test_how_many_projects_wait_costs_no_more_than_the_rows_asked_for(steps: Steps, plan: ReadPlan) -> None:
    """Nor do the rows that a project has: SQLite's steps are counted at two sizes, a hundred times apart."""

    def steps_taken() -> int:
        taken = 0

        def count() -> int:
            nonlocal taken
            taken += 1
            return 0

        steps.outbox.set_progress_handler(count, 10)
        assert len(unread.read_unread(steps.outbox, plan)) == 32
        steps.outbox.set_progress_handler(None, 0)
        return taken

    _insert_all(steps, [(f"p{number:04}", "{}") for number in range(40)])
    few = steps_taken()
    _insert_all(steps, [(f"p{number:04}", "{}") for number in range(40, 4000)])
    _insert(steps, "p0000", 4000)
    assert steps_taken() < 2 * few


def test_a_row_that_is_no_text_takes_nothing_from_the_others_of_its_batch(steps: Steps) -> None:
    """They are read as bytes with it, and its project has its turn."""
    _insert(steps, "loud", 100)
    steps.outbox.execute("PRAGMA ignore_check_constraints=ON")
    steps.outbox.execute(
        "INSERT INTO outbox (project_id, event_type, payload) VALUES ('odd', 'lead.created', CAST(x'ff' AS TEXT)), "
        "(CAST(x'6f64fe' AS TEXT), 'lead.created', '{}')"
    )
    steps.outbox.execute("PRAGMA ignore_check_constraints=OFF")
    rows = unread.read_unread(steps.outbox, ReadPlan(5))
    assert sorted(bytes(row.project_id) for row in rows) == [b"loud", b"loud", b"loud", b"odd", b"od\xfe"]  # type: ignore[arg-type]
    assert {row.project for row in rows} == {"loud", "odd", "od\ufffd"}
    assert len(unread.read_unread(steps.outbox, ReadPlan(5, "od\ufffd"))) == 5


def test_payloads_of_many_alphabets_stay_with_their_rows(steps: Steps) -> None:
    """They are read one behind the other, and large ones among them apart."""
    payloads = [f'{{"a": "{text}"}}' for text in ("é" * 7, "x", "漢字", "\U0001f600", "", "ü" * SMALL, "y")]
    _insert_all(steps, [("a", payload) for payload in payloads])
    assert [row.payload for row in unread.read_unread(steps.outbox, ReadPlan(10))] == payloads


def test_halves_of_a_character_in_two_rows_are_no_text(steps: Steps) -> None:
    """One behind the other they would be a whole one; each is read as its own bytes, and so are those beside them."""
    steps.outbox.execute("PRAGMA ignore_check_constraints=ON")
    halves = [b'{"a": "' + half + b'"}' for half in (b"x", b"y")] + [b'"\xc3', b'\xa9"', b'{"a": 1}']
    _insert_bytes(steps, *halves)
    assert [row.payload for row in unread.read_unread(steps.outbox, ReadPlan(10))] == halves


@pytest.mark.parametrize("beside", [0, 2])
def test_a_large_payload_that_is_no_text_is_read_as_its_bytes(steps: Steps, beside: int) -> None:
    """The checks take it for JSON, and it is read apart from the small ones, which stay text."""
    broken = b'{"a": "\xff' + b"x" * SMALL + b'"}'
    _insert(steps, "a", beside)
    _insert_bytes(steps, broken)
    rows = unread.read_unread(steps.outbox, ReadPlan(10))
    assert [row.payload for row in rows] == ["{}"] * beside + [broken]


def test_a_nul_in_a_payload_takes_nothing_from_the_one_behind_it(steps: Steps) -> None:
    """SQLite's functions count up to it, and its size counts all."""
    steps.outbox.execute("PRAGMA ignore_check_constraints=ON")
    payloads = ['{"a": 1}', '{"b": 2}\0x', '{"c": 3}']
    _insert_all(steps, [("a", payload) for payload in payloads])
    read = [row.payload for row in unread.read_unread(steps.outbox, ReadPlan(10))]
    assert [payload if isinstance(payload, str) else str(payload, "utf-8") for payload in read if payload] == payloads


def test_rows_that_are_apart_are_not_read_again(steps: Steps) -> None:
    """What comes after them is."""
    _insert(steps, "p", 5)
    assert [row for row, _ in _next(steps, ReadPlan(2, excluded={1, 2, 4}))] == [3, 5]


@pytest.mark.parametrize("size", [SMALL + 1, 256 * 1024])
def test_large_payloads_are_bounded_in_bytes(steps: Steps, size: int) -> None:
    """The row that reaches a MiB is the last of the large ones; small ones come with them, each with its own payload."""
    empty = '{"a": ""}'
    large = empty.replace('""', f'"{"x" * (size - len(empty))}"')
    _insert(steps, "large", 80, large)
    _insert(steps, "small", 3)
    rows = unread.read_unread(steps.outbox, ReadPlan(200))
    most = -(-MOST_BYTES // size)
    assert [row.payload for row in rows if row.project_id == "large"] == [large] * min(80, most)
    assert [row.payload for row in rows if row.project_id == "small"] == ["{}"] * 3


def test_rows_may_go_while_they_are_chosen(steps: Steps) -> None:
    """Somebody deletes them between the look at what waits and the reading of it."""
    _insert(steps, "p", 100)

    def look(statement: str) -> None:
        if "occurred_at" in statement:
            steps.outbox.set_trace_callback(None)
            steps.conn.execute("DELETE FROM outbox")

    steps.outbox.set_trace_callback(look)
    assert unread.read_unread(steps.outbox, ReadPlan(10)) == []
    assert steps.conn.execute("SELECT count(*) FROM outbox").fetchone()[0] == 0
