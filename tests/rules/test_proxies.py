"""What can be the proxy that requests go through, and what is shown of it."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.rules.proxies import Proxy, parse_proxy


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy.internal:3128", Proxy("proxy.internal", 3128)),
        (" HTTP://Proxy.Internal:3128/ ", Proxy("proxy.internal", 3128)),
        ("http://10.0.0.7:8080", Proxy("10.0.0.7", 8080)),
        ("http://[fd00::7]:8080", Proxy("fd00::7", 8080)),
        ("http://localhost:1", Proxy("localhost", 1)),
        ("", None),
        ("  ", None),
    ],
)
def test_a_proxy_is_a_host_and_a_port(text: str, proxy: Proxy | None) -> None:
    """A private address too: the policy is about receivers."""
    assert parse_proxy(text) == proxy


def test_user_and_password_are_decoded_and_never_shown() -> None:
    """In the text of a proxy, and in what Python writes of it."""
    proxy = parse_proxy("http://al%40mirant:p%3Aw%2Fd%20%C3%B1@proxy.internal:3128")
    assert proxy is not None
    assert base64.b64decode(proxy.authorization.removeprefix("Basic ")).decode() == "al@mirant:p:w/d ñ"
    assert proxy.shown == "http://(masked)@proxy.internal:3128"
    assert proxy.authorization not in repr(proxy)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("https://proxy.internal:3128", "begin with http://"),
        ("socks5://proxy.internal:1080", "begin with http://"),
        ("proxy.internal:3128", "begin with http://"),
        ("http://proxy.internal", "no port"),
        ("http://proxy.internal:", "no port"),
        ("http://proxy.internal:0", "no port"),
        ("http://proxy.internal:70000", "cannot be read"),
        ("http://proxy.internal:abc", "cannot be read"),
        ("http://:3128", "no host"),
        ("http://pro xy:3128", "space"),
        ("http://proxy\x00:3128", "control character"),
        ("http://-bad-:3128", "no host"),
        ("http://prøxy:3128", "no host"),
        ("http://[fe80::1%25eth0]:3128", "no host"),
        ("http://proxy:3128/path", "more than a host"),
        ("http://proxy:3128?query", "more than a host"),
        ("http://proxy:3128#part", "more than a host"),
        ("http://hidden:se/cret@proxy:3128", "cannot be read"),
        ("http://hidden:se[cret@proxy:3128", "cannot be read"),
        ("http://:secret@proxy:3128", "user must not be empty"),
        ("http://hid%3Aden:secret@proxy:3128", "a colon"),
        ("http://hidden:se%0D%0Acret@proxy:3128", "control character"),
        ("http://hidden:%FFsecret@proxy:3128", "not UTF-8"),
        ("http://" + "h" * 3000 + ":1", "longer than"),
    ],
)
def test_what_is_none_is_refused_without_a_word_of_its_password(text: str, word: str) -> None:
    """The sentence goes into logs and onto screens."""
    with pytest.raises(ValueError, match=word) as refused:
        parse_proxy(text)
    assert "cret" not in str(refused.value)
    assert "hidden" not in str(refused.value)


@given(st.text())
def test_any_text_is_a_proxy_or_is_refused_in_words(text: str) -> None:
    """Nothing else is raised, and no line break gets into a header."""
    with suppress(ValueError):
        proxy = parse_proxy(f"http://{text}@proxy:3128")
        assert proxy is not None
        assert (proxy.authorization + proxy.host).isprintable()
