"""The key file, and what is sealed with it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.model import Misconfigured, Refused
from almirant_webhooks.ops.sealing import NoKey, Seals, Unopenable

LINE = f"k1 {base64.b64encode(bytes(32)).decode()}\n"


def written(path: Path, content: str | bytes, mode: int = 0o600) -> Seals:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return Seals(path)


@pytest.fixture(scope="module")
def seals(tmp_path_factory: pytest.TempPathFactory) -> Seals:
    return written(tmp_path_factory.mktemp("key") / "key", LINE)


@given(st.text(), st.sampled_from(["secret", "headers:x-a"]))
def test_what_was_sealed_is_opened_for_its_own_field_alone(seals: Seals, text: str, field: str) -> None:
    """Of its own webhook. Each seal of a text is another one, and has nothing of it."""
    first, second = seals.seal(text, "wh_1", field), seals.seal(text, "wh_1", field)
    assert first != second
    assert seals.open(first, "wh_1", field) == seals.open(second, "wh_1", field) == text
    assert len(text) < 8 or text not in first
    for owner, other in (("wh_2", field), ("wh_1", "next_secret")):
        with pytest.raises(Unopenable, match=f"of {owner} cannot be opened: the key k1 does not open it"):
            seals.open(first, owner, other)


@pytest.mark.parametrize("change", [lambda text: text[:-4], lambda text: text[:-8] + "AAAA" + text[-4:], lambda text: text[:12], lambda text: f"{text}!"])  # fmt: skip
def test_a_changed_text_is_refused_in_words_without_it(seals: Seals, change: object) -> None:
    """Cut, altered, empty, or no base64."""
    sealed = seals.seal("a secret of mine", "wh_1", "secret")
    assert callable(change)
    with pytest.raises(Unopenable) as refusal:
        seals.open(change(sealed), "wh_1", "secret")
    assert "mine" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it has no key"),
        ("k1\n", "line 1 is not an id and a key"),
        (f"{LINE}k 2 AAAA\n", "line 2 is not an id and a key"),
        ("k1 AAAA\n", "the key in line 1 has 3 bytes, and must have 32"),
        (f"k1 {base64.b64encode(bytes(33)).decode()}\n", "has 33 bytes"),
        ("k1 A\n", "the key in line 1 is not whole base64"),
        (LINE * 2, "the id in line 2 is that of an earlier line"),
        (b"k1 \xff\n", "it is not ASCII text"),
        ("\n" * 70_000, "it has more than 65,536 bytes"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_refused_with_words(tmp_path: Path, content: str | bytes, why: str) -> None:
    """They name the file and the line, and never a key."""
    with pytest.raises(NoKey, match=f"cannot be used: .*{why}") as refusal:
        written(tmp_path / "key", content).ensure()
    assert str(tmp_path / "key") in str(refusal.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    with pytest.raises(NoKey, match=r"can be opened by others .*chmod 0600"):
        written(tmp_path / "key", LINE, mode).newest()


def test_a_key_file_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    """A given one is never made."""
    with pytest.raises(NoKey, match=r"There is no key file .*secrets\.key_file"):
        Seals(tmp_path / "key", is_own=False).ensure()
    with pytest.raises(Misconfigured, match="is not a file"):
        Seals(tmp_path).newest()


def test_the_last_key_seals_and_the_others_open(tmp_path: Path) -> None:
    """Also for who had the file read before; a key that is gone is named by its id."""
    seals = Seals(tmp_path / "key")
    assert seals.ensure()
    assert not seals.ensure()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    other, old = Seals(tmp_path / "key"), seals.seal("a", "wh_1", "secret")
    assert other.open(old, "wh_1", "secret") == "a"
    new_id = seals.add_key()
    new = seals.seal("b", "wh_1", "secret")
    assert (other.open(new, "wh_1", "secret"), other.newest()) == ("b", new_id)
    assert [seals.is_current(text) for text in (old, new, "plain")] == [False, True, False]
    lines = (tmp_path / "key").read_text().splitlines(keepends=True)
    assert len(lines) == 2
    alone = written(tmp_path / "alone", lines[0])
    with pytest.raises(Unopenable, match=f"'{new_id}', which is not there"):
        alone.open(new, "wh_1", "secret")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["alone", "key"]


def test_the_keys_that_were_read_are_used_while_the_file_cannot_be(tmp_path: Path) -> None:
    """An editor has written it so that others can read it, or it is away for a moment: a running daemon goes on."""
    seals = written(tmp_path / "key", LINE)
    sealed = seals.seal("text", "wh_1", "secret")
    seals.path.chmod(0o644)
    assert seals.open(sealed, "wh_1", "secret") == "text"
    seals.path.unlink()
    assert seals.open(seals.seal("more", "wh_1", "secret"), "wh_1", "secret") == "more"


def test_of_two_that_add_a_key_neither_takes_the_other_s_away(tmp_path: Path) -> None:
    """Each reads the file anew once it has the lock."""
    first = written(tmp_path / "key", LINE)
    second = Seals(first.path)
    assert first.newest() == second.newest() == "k1"
    added = [first.add_key(), second.add_key()]
    assert [line.split()[0] for line in first.path.read_text().splitlines()] == ["k1", *added]


def test_without_sealing_texts_are_stored_as_they_are(tmp_path: Path) -> None:
    """No key is needed; a text that would look sealed is refused."""
    seals = Seals(tmp_path / "key", is_on=False)
    assert seals.seal("a", "wh_1", "secret") == seals.open("a", "wh_1", "secret") == "a"
    assert seals.is_current("a")
    with pytest.raises(Refused, match="must not begin with sealed:v1:"):
        seals.seal("sealed:v1:k1:AAAA", "wh_1", "secret")
