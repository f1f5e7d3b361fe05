"""A receiver that repeats what it was sent does not write a webhook's secrets into the log."""

from __future__ import annotations

import gzip
import html
import json
from urllib.parse import quote

import pytest

from almirant_webhooks.model import MASK, Claim, Headers
from almirant_webhooks.sending.answers import Answer, Fields, keep_headers
from almirant_webhooks.sending.echoes import hide, without_echoes

from ..support.hostile import OK, answering, server
from .test_sender import claim as claim_of
from .test_sender import sender

TOKEN = 'to/ken+"of=<a>&b\\'
SECRET = "s" * 16


def claim(*headers: tuple[str, str]) -> Claim:
    return claim_of("https://example.com/in")._replace(webhook_headers=headers)


def answer(body: bytes, fields: Fields | None = None, *, whole: bool = True) -> Answer:
    return Answer(200, fields or [], body, whole, 0.0)


@pytest.mark.parametrize(
    "echo",
    [
        TOKEN,
        f"Bearer {TOKEN}",
        f"a{TOKEN}{TOKEN}b",
        json.dumps({"Authorization": f"Bearer {TOKEN}"}),
        json.dumps(TOKEN).replace("/", "\\/"),
        html.escape(TOKEN),
        quote(TOKEN, safe=""),
        SECRET,
    ],
)
def test_what_is_repeated_is_masked_however_it_is_written(echo: str) -> None:
    """In the body and in a header; as it was sent, as JSON, HTML or a URL write it, with and without its `Bearer`."""
    sent = claim(("Authorization", f"Bearer {TOKEN}"), ("X-Team", "7"))
    masked = without_echoes(answer(f"<{echo}> 7".encode(), [(b"X-Echo", echo.encode())]), sent, 1000)
    for part in (masked.body.decode(), masked.headers[0][1]):
        assert MASK in part
        assert echo not in part
        assert not any(secret in part for secret in ("to/ken", "to%2Fken", "ssss"))
    assert masked.body.endswith(b"> 7"), "a text of one character is no secret"


@pytest.mark.parametrize(
    ("value", "echo"),
    [
        ("a+b=c&d<e>", "a\\u002Bb=c\\u0026d\\u003Ce\\u003E"),
        ("whsec_abcdef==", "whsec_abcdef\\u003d\\u003d"),
        ("a<b>&c+d=e", "a\\u003cb\\u003e\\u0026c+d=e"),
        ("contraseña larga", "contrase\\u00f1a larga"),
    ],
    ids=[".NET", "Gson", "Go", "ASCII alone"],
)
def test_what_other_json_encoders_escape_is_masked(value: str, echo: str) -> None:
    masked = without_echoes(answer(f'{{"echo": "{echo}"}}'.encode()), claim()._replace(secret=value), 1000)
    assert masked.body.decode() == f'{{"echo": "{MASK}"}}'


def test_an_answer_in_utf_16_that_repeats_a_secret_is_masked() -> None:
    """The pages would read it as text."""
    fields = [(b"Content-Type", b"text/plain; charset=utf-16")]
    masked = without_echoes(answer(f"you sent {SECRET}".encode("utf-16"), fields), claim(), 1000)
    assert SECRET.encode("utf-16-le") not in masked.body


def test_a_claim_that_is_written_into_a_log_has_nothing_secret() -> None:
    """An event loop writes the arguments of a callback that has failed."""
    text = repr(claim(("Authorization", TOKEN)))
    assert SECRET not in text
    assert "ken" not in text


@pytest.mark.parametrize("size", [4, 9, 31])
def test_the_beginning_of_a_value_where_the_body_was_cut_is_masked(size: int) -> None:
    """Of an answer that is whole it is no part of the value."""
    token = "0123456789abcdef0123456789abcdef"
    body = b"x" * 50 + token[:size].encode()
    sent = claim(("X-Token", token))
    assert without_echoes(answer(body, whole=False), sent, 1000).body == b"x" * 50 + MASK.encode()
    assert without_echoes(answer(body), sent, 1000).body == body
    assert hide(token.encode() + b"x", sent, cut=True) == MASK.encode() + b"x"


def test_a_mask_makes_no_body_longer_than_is_kept() -> None:
    """What is cut off then is marked as cut."""
    masked = without_echoes(answer(b"abcd" * 250), claim(("X-Token", "abcd")), 1000)
    assert (len(masked.body), masked.cut) == (1000, True)


def test_of_a_compressed_answer_that_repeats_a_value_nothing_is_kept() -> None:
    """It would be shown decompressed. Another one stays as its own bytes."""
    fields: Fields = [(b"Content-Encoding", b"gzip"), (b"Content-Type", b"text/plain")]
    sent = claim(("X-Token", TOKEN))
    masked = without_echoes(answer(gzip.compress(TOKEN.encode()), fields), sent, 1000)
    assert masked == ((("Content-Type", "text/plain"),), MASK.encode(), True)
    other = answer(gzip.compress(b"thanks"), fields)
    assert without_echoes(other, sent, 1000) == (keep_headers(tuple(fields)), other.body, False)


@pytest.mark.parametrize("headers", [(), (("X-Token", TOKEN),)])
def test_an_answer_that_repeats_nothing_stays_as_it_is(headers: Headers) -> None:
    """To the byte."""
    other = answer(b"thanks " * 100, [(b"A", b"b")], whole=False)
    assert without_echoes(other, claim(*headers), 1000) == ((("A", "b"),), other.body, True)


async def test_what_is_no_answer_is_masked_too() -> None:
    """A receiver that sends the request back as it came."""
    sent = claim(("X-Token", "a-token-of-mine"))
    async with sender() as sending:
        async with server(answering(b"X-Token: a-token-of-mine\r\n\r\n")) as port:
            unread = await sending.send(sent._replace(url=f"http://127.0.0.1:{port}/in"))
        async with server(answering(OK + b"Content-Length: 15\r\n\r\na-token-of-mine")) as port:
            read = await sending.send(sent._replace(url=f"http://127.0.0.1:{port}/in"))
    assert b"mine" not in unread.response_body
    assert read.response_body == MASK.encode()
