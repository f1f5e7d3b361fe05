"""`doctor` and `check-config` about the proxy: what it says, what to do, and never its password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ..support.hostile import Serve
from ..support.ports import free_port
from ..support.proxies import proxy, saying
from ..support.shell import Shell
from .test_doctor import findings

WORD = "hidden-word"


def configure(shell: Shell, url: str) -> None:
    text = shell.config.read_text()
    shell.config.write_text(text.replace("[egress]\n", f'[egress]\nproxy = "{url}"\n'))


def with_word(url: str) -> str:
    return url.replace("//", f"//user:{WORD}@")


@pytest.mark.parametrize(
    ("answer", "result", "words"),
    [
        (b"HTTP/1.1 503 No\r\n\r\n", "ok", "answers, and lets this service in"),
        (b"HTTP/1.1 403 No\r\n\r\n", "ok", "answers, and lets this service in"),
        (b"HTTP/1.1 407 Who\r\n\r\n", "wrong", "the proxy wants another user or password (407)"),
        (b"HTTP/1.1 500 Unable\r\n\r\n", "warning", "repeated without an end"),
        (b"HTTP/1.1 200 Yes\r\n\r\n", "warning", "leads nowhere"),
        (b"SSH-2.0-OpenSSH\r\n", "wrong", "the proxy's answer is not HTTP"),
    ],
)
def test_doctor_asks_the_proxy_and_says_what_its_answer_means(
    shell: Shell, answer: bytes, result: str, words: str
) -> None:
    """Without a receiver being troubled, and without a word of the password."""
    heads: list[bytes] = []
    answering = saying(answer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n"))
        reader.feed_data(b"\r\n\r\n")
        await answering(reader, writer)

    found = _asked(serve, lambda url: _doctor(shell, url))
    assert found["proxy"][0] == result
    assert words in found["proxy"][1]
    assert "http://(masked)@127.0.0.1:" in found["proxy"][1]
    assert WORD not in str(found)
    assert heads == [b"CONNECT doctor.almirant-webhooks.invalid:443 HTTP/1.1\r\n"]
    assert "DNS" not in found


def _doctor(shell: Shell, url: str) -> dict[str, tuple[str, str]]:
    configure(shell, with_word(url))
    return findings(shell, 1)


def _asked(serve: Serve, ask: Callable[[str], dict[str, tuple[str, str]]]) -> dict[str, tuple[str, str]]:
    async def whole() -> dict[str, tuple[str, str]]:
        async with proxy(serve) as url:
            return await asyncio.to_thread(ask, url)

    return asyncio.run(whole())


def test_doctor_tells_of_a_proxy_that_is_not_there_and_says_nothing_without_one(shell: Shell) -> None:
    """With the words of the attempts."""
    assert "proxy" not in findings(shell, 1)
    configure(shell, with_word(f"http://127.0.0.1:{free_port()}"))
    result, words = findings(shell, 1)["proxy"]
    assert result == "wrong"
    assert "no connection to the proxy: connection refused. Nothing is delivered until that is mended" in words


def test_check_config_shows_a_proxy_without_its_password(shell: Shell) -> None:
    """And a bad one is refused with exit 78 in words that do not repeat it."""
    configure(shell, f"http://user:{WORD}@proxy.internal:3128")
    shown = shell.ours("check-config", "--show")
    assert "http://(masked)@proxy.internal:3128" in shown
    assert WORD not in shown
    shell.config.write_text(shell.config.read_text().replace('"http://user', '"https://user'))
    said = shell.ours("check-config", code=78)
    assert f"egress.proxy (from {shell.config}): the URL must begin with http://" in said
    assert WORD not in said
