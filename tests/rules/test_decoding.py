"""Answers as people read them: decompressed and decoded for display, bounded, and said so; what is stored stays as it came."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.rules import decoding
from almirant_webhooks.rules.decoding import MAX_SHOWN, show

from ..support.hostile import BOMB, OK, answering, server
from ..support.shell import Shell
from ..web.test_pages import Pages, pages

__all__ = ["pages"]  # the fixture
TEXT = "¡Hola! Søren, 漢字"


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def encoded(coding: str, kind: str = "text/plain; charset=utf-8") -> list[tuple[str, str]]:
    return [("content-encoding", coding), ("CONTENT-TYPE", kind)]


@pytest.mark.parametrize(
    ("raw", "coding", "note"),
    [
        (gzip.compress(TEXT.encode(), mtime=0), "gzip", "decompressed from gzip"),
        (gzip.compress(TEXT.encode(), mtime=0), " X-GZip ", "decompressed from x-gzip"),
        (zlib.compress(TEXT.encode()), "deflate", "decompressed from deflate"),
        (_raw_deflate(TEXT.encode()), "deflate", "decompressed from deflate"),
        (gzip.compress(zlib.compress(TEXT.encode()), mtime=0), "deflate, gzip", "decompressed from deflate, gzip"),
        (gzip.compress(TEXT.encode(), mtime=0), "identity, gzip", "decompressed from gzip"),
        (TEXT.encode(), "identity", None),
        (TEXT.encode(), "gzip", "not gzip, although its header says so"),
        (TEXT.encode(), "br", "compressed with br, which is not read here"),
    ],
)
def test_a_compressed_body_is_shown_as_its_text(raw: bytes, coding: str, note: str | None) -> None:
    """By the header `Content-Encoding`; deflate in both of its forms, and what cannot be read says so."""
    assert show(raw, encoded(coding), cut=False) == (TEXT, True, note)


def test_a_bomb_costs_nothing() -> None:
    """64 KiB are decompressed and no more, of bombs in bombs too."""
    for raw, coding in ((BOMB, "gzip"), (gzip.compress(BOMB), "gzip, gzip"), (BOMB, ", ".join(["gzip"] * 1000))):
        found = show(raw, encoded(coding), cut=False)
        assert len(found.text) <= max(MAX_SHOWN, 4 * len(raw))
    long = show(gzip.compress(b"a" * 1_000_000), encoded("gzip"), cut=False)
    assert long == ("a" * MAX_SHOWN, True, "decompressed from gzip, its first 64 KiB")


def test_a_compressed_body_whose_end_is_missing_is_shown_as_far_as_it_goes() -> None:
    """It was cut where bodies are, or its connection was lost."""
    raw = gzip.compress("".join(f"line {n} ø\n" for n in range(1000)).encode())
    found = show(raw[: len(raw) // 2], encoded("gzip"), cut=True)
    assert found.text.startswith("line 0 ø\nline 1 ø\n")
    assert found.is_text


@pytest.mark.parametrize(
    ("charset", "text", "note"),
    [
        ("iso-8859-1", "Søren", "read as iso-8859-1"),
        ('"ISO-8859-1"', "Søren", "read as ISO-8859-1"),
        ("latin1", "Søren", "read as latin1"),
        ("windows-1252", "5 €", "read as windows-1252"),
        ("windows-1251", "Привет", "read as windows-1251"),
        ("koi8-r", "Привет", "read as koi8-r"),
        ("shift_jis", "漢字", "read as shift_jis"),
        ("gb2312", "汉字", "read as gb2312"),
        ("big5", "漢字", "read as big5"),
        ("euc-kr", "한국", "read as euc-kr"),
        ("utf-16", "Søren", "read as utf-16"),
        ("utf-8", "Søren", None),
        ("iso-8859-1", "plain", None),
    ],
)
def test_a_body_in_another_charset_is_shown_as_its_text(charset: str, text: str, note: str | None) -> None:
    """By the charset of `Content-Type`."""
    raw = text.encode(charset.strip('"'))
    assert show(raw, [("Content-Type", f"text/html; charset={charset}")], cut=False) == (text, True, note)


def test_a_byte_order_mark_tells_the_charset_too() -> None:
    """And is not shown."""
    assert show(b"\xef\xbb\xbfok", [], cut=False) == ("ok", True, None)
    assert show("Søren".encode("utf-16"), [], cut=False) == ("Søren", True, "read as utf-16")


@pytest.mark.parametrize(
    "charset", ["rot13", "zip", "hex", "unicode_escape", "punycode", "undefined", "x" * 500, "../etc", "no-such"]
)
def test_what_is_no_charset_is_not_followed(charset: str) -> None:
    """Python has codecs that are none; the body is UTF-8 or escapes then."""
    kind = [("Content-Type", f"text/plain; charset={charset}")]
    assert show("Søren".encode(), kind, cut=False) == ("Søren", True, None)
    assert show(b"\xff", kind, cut=False) == ("\\xff", False, None)


def test_a_body_that_is_cut_within_a_character_is_still_text() -> None:
    """The half character is left out; where nothing was cut it is no text."""
    for charset in ("utf-8", "utf-16-le", "shift_jis", "gb18030"):
        raw = "漢字漢字".encode(charset)
        kind = [("Content-Type", f"text/plain; charset={charset}")]
        for length in range(len(raw)):
            found = show(raw[:length], kind, cut=True)
            assert "漢字漢字".startswith(found.text)
            assert found.is_text
    assert show("漢".encode()[:2], [], cut=False) == ("\\xe6\\xbc", False, None)
    assert show(b"\xff" + "漢".encode()[:2], [], cut=True).is_text is False


@given(
    st.binary(max_size=200),
    st.sampled_from(["gzip", "deflate", "br", "gzip, deflate", ""]),
    st.text(max_size=30),
    st.booleans(),
)
def test_no_body_is_an_error_of_ours(raw: bytes, coding: str, charset: str, cut: bool) -> None:
    """Whatever its headers say."""
    assert isinstance(show(raw, encoded(coding, f"text/plain; charset={charset}"), cut=cut), decoding.Shown)


async def test_command_api_and_page_show_the_same_text_and_the_log_keeps_the_bytes(
    pages: Pages, tmp_path: Path
) -> None:
    """Each says what was done."""
    raw = gzip.compress("<b>Søren</b>".encode("latin-1"))
    head = OK + b"Content-Encoding: gzip\r\nContent-Type: text/html; charset=latin-1\r\nContent-Length: %d\r\n\r\n"
    service = pages.service
    async with server(answering(head % len(raw) + raw)) as port:
        service.webhook(f"http://127.0.0.1:{port}/in")
        service.insert()
        await service.until(lambda: [row["state"] for row in service.log()] == ["succeeded"])
    delivery_id = service.log()[0]["delivery_id"]
    assert service.read(lambda conn: conn.execute("SELECT response_body FROM attempts").fetchone()[0]) == raw
    words = "decompressed from gzip; read as latin-1"
    shell = Shell(tmp_path, service.database)
    assert f"Answer ({words}):\n<b>Søren</b>" in shell.ours("delivery", "show", delivery_id)
    shown = [json.loads(shell.ours("delivery", "show", delivery_id, "--json"))]
    shown.append(json.loads(await pages.get(f"/api/v1/deliveries/{delivery_id}")))
    for delivery in shown:
        (attempt,) = delivery["attempt_list"]
        assert (attempt["response_body"], attempt["response_body_note"]) == ("<b>Søren</b>", words)
    page = await pages.get(f"/deliveries/{delivery_id}")
    assert "&lt;b&gt;Søren&lt;/b&gt;" in page
    assert f"Body: {words}." in page
