"""Where requests may go: the rules of URLs, and what an operator opens."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.model import Refused
from almirant_webhooks.rules.urls import BLOCKED, Policy, check_url, is_allowed

PUBLIC = Policy()
DEVELOPMENT = Policy(allow_localhost=True)


def test_development_opens_loopback_alone_and_networks_what_they_name() -> None:
    """The daemon's own address and port stay closed."""
    assert is_allowed("127.0.0.1", 80, DEVELOPMENT)
    assert is_allowed("::1", 80, DEVELOPMENT)
    assert not is_allowed("10.0.0.1", 80, DEVELOPMENT)
    opened = Policy(allowed_networks=(ip_network("10.1.0.0/16"),))
    assert is_allowed("10.1.2.3", 80, opened)
    assert is_allowed("::ffff:10.1.2.3", 80, opened)
    assert not is_allowed("10.2.0.0", 80, opened)
    closed = Policy(allow_localhost=True, closed=frozenset([("127.0.0.1", 8420)]))
    assert not is_allowed("127.0.0.1", 8420, closed)
    assert not is_allowed("::ffff:127.0.0.1", 8420, closed)
    assert is_allowed("127.0.0.1", 8421, closed)
    everywhere = Policy(allow_localhost=True, closed=frozenset([("0.0.0.0", 8420)]))
    assert not is_allowed("127.9.9.9", 8420, everywhere)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("https://Example.COM", "https://example.com/"),
        ("HTTPS://example.com:443/a", "https://example.com/a"),
        ("https://example.com.:8443/a?b=c&d", "https://example.com:8443/a?b=c&d"),
        ("https://bücher.example/ü?ü", "https://xn--bcher-kva.example/%C3%BC?%C3%BC"),
        ("https://example.com/%2e%2E/a%20b", "https://example.com/%2e%2E/a%20b"),
        ("https://[2606:4700:0::1]/", "https://[2606:4700::1]/"),
        ("https://8.8.8.8/x", "https://8.8.8.8/x"),
        ("https://8.8.8.8./x", "https://8.8.8.8/x"),
        ("https://exämple。COM/", "https://xn--exmple-cua.com/"),
        ("https://[64:ff9b::8.8.8.8]/", "https://[64:ff9b::808:808]/"),
        ("https://example.com?a@b", "https://example.com/?a@b"),
        ("https://example.com/@", "https://example.com/@"),
    ],
)
def test_a_url_is_stored_in_its_normal_form(written: str, stored: str) -> None:
    """Which is a fixed point."""
    assert check_url(written, PUBLIC) == stored
    assert check_url(stored, PUBLIC) == stored


REFUSALS = {
    "it must begin with https://": [
        "", "example.com", "//example.com/", "ftp://example.com/", "http://example.com/", "javascript:alert(1)",
        "file:///etc/passwd",
    ],
    "http:// is for localhost in development alone, where the service allows it; use https://": [
        "http://localhost/", "http://127.0.0.1/", "http://[::1]/", "http://one.localhost/",
    ],
    f"{BLOCKED}; requests go to public addresses alone": [
        "https://localhost/", "https://LOCALHOST./", "https://one.localhost/", "https://127.0.0.1/",
        "https://１２７.0.0.1/", "https://①②⑦.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/", "https://[::1]/",
        "https://[::]/", "https://0.0.0.0/", "https://[::ffff:127.0.0.1]/", "https://[fd00:ec2::254]/",
        "https://[64:ff9b::a9fe:a9fe]/", "https://100.100.100.200/", "https://168.63.129.16/", "https://10.0.0.1./",
    ],
    "it contains a user or password": [
        "https://u@example.com/", "https://u:p@example.com/", "https://:p@example.com/", "https://@example.com/",
        "https://example.com@10.0.0.1/", "https://a@b@example.com/",
    ],
    "it contains a fragment (#…), which is never sent": ["https://example.com/#f", "https://example.com/#"],
    "it contains a space or a control character": [
        "https://exa mple.com/", "https://example.com/a b", "https://example.com/\n", "https://example.com/\x00",
        "https://exa\tmple.com/", " https://example.com/", "https://example.com/\x7f", "https://example.com/\u2028",
    ],
    "it contains a backslash": ["https://example.com\\@evil.com/"],
    "it names no host": ["https:///a", "https:example.com", "https:/example.com", "https://"],
    "its port is not a number from 1 to 65535": [
        "https://example.com:0/", "https://example.com:65536/", "https://example.com:/", "https://example.com:x/",
        "https://example.com:-1/", "https://example.com:+1/", "https://example.com:８/", "https://example.com:1_0/",
    ],
    "its IPv4 address must be written as four decimal numbers": [
        "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/", "https://1.2.3.4.5/",
        "https://010.8.8.8/", "https://0x8.8.8.8/", "https://8.8.8.0x8/", "https://８.８.８/", "https://256.1.1.1/",
    ],
    "its IPv6 address cannot be read": [
        "https://[fe80::1%25eth0]/", "https://[::1", "https://[v1.a]/", "https://[1.2.3.4]/", "https://[]/",
    ],
    "its host contains a percent sign": ["https://exa%6dple.com/", "https://u%40example.com/", "https://%31%30.0.0.1/"],
    "its host has a dot too many": ["https://example.com../", "https://a..example.com/", "https://.example.com/"],
    "its host contains characters that can be taken for '/', '?', '#', '@' or ':'": ["https://example.com／.evil.com/"],
    "its host is not a domain name or an IP address": [
        "https://-example.com/", "https://" + "a" * 64 + ".com/", "https://*.example.com/", "https://a,b.com/",
        "https://" + "a." * 130 + "com/",
    ],
    "its host is not a valid international domain name": ["https://\u2024.com/", "https://a\u0300\u0300-.\u00df\u05d0.com/"],
    "it is longer than 2048 characters": ["https://example.com/" + "a" * 2048],
    "it is longer than 2048 characters once it is encoded": [
        "https://example.com/" + "ü" * 400, "https://xn--a.example/" + "é" * 400,
    ],
}  # fmt: skip


@pytest.mark.parametrize(("why", "url"), [(why, url) for why, urls in REFUSALS.items() for url in urls])
def test_a_url_that_breaks_a_rule_is_refused_with_a_sentence_of_its_own(why: str, url: str) -> None:
    """At its field."""
    with pytest.raises(Refused) as refusal:
        check_url(url, PUBLIC)
    assert refusal.value.message == f"This URL cannot be used: {why}."
    assert refusal.value.field == "url"


@pytest.mark.long
@given(st.text(max_size=60))
def test_no_text_breaks_the_check_of_a_url(text: str) -> None:
    """It is refused in a sentence, or stored as printable ASCII."""
    for url in (text, f"https://{text}/", f"https://example.com/{text}"):
        try:
            stored = check_url(url, PUBLIC)
        except Refused:
            continue
        assert stored.isascii()
        assert stored.isprintable()
        assert check_url(stored, PUBLIC) == stored


def test_http_is_for_localhost_in_development() -> None:
    """Names and addresses of loopback alone."""
    for url in ("http://localhost/", "http://127.0.0.1:8080/", "http://[::1]/", "https://localhost/"):
        assert check_url(url, DEVELOPMENT) == url
    for url in ("http://example.com/", "http://10.0.0.1/", "http://localhost.example.com/"):
        with pytest.raises(Refused):
            check_url(url, DEVELOPMENT)
