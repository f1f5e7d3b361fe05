"""Where requests may go: the rules of URLs, and the address policy against a list of its own."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.egress import BLOCKED, Policy, check_url, is_allowed
from almirant_webhooks.model import Refused

PUBLIC = Policy()
DEVELOPMENT = Policy(allow_localhost=True)

# IANA's special-purpose registries and what else is never dialled, written down apart from the table in the code.
# All of IANA's blocks are here, those marked globally reachable too: anycast services, where no receiver lives.
SPECIAL = [
    "0.0.0.0/32", "192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32",
    "192.88.99.2/32", "255.255.255.255/32", "169.254.169.254/32", "100.100.100.200/32", "192.0.0.192/32",
    "100:0:0:1::/64", "2001::/23", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:3::/32", "2001:4:112::/48",
    "2001:30::/28", "fd00:ec2::254/128", "::ffff:0:0:0/96",
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    "::1/128", "::/128", "100::/64", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32",
    "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "64:ff9b:1::/48", "2620:4f:8000::/48",
]  # fmt: skip
JUST_OUTSIDE_AND_PUBLIC = [
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
    "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255", "198.51.101.0",
    "203.0.112.255", "203.0.114.0", "223.255.255.255", "168.63.129.15", "168.63.129.17", "2001:200::", "2001:db7::",
    "2001:db9::", "2000::", "2606:4700::1111", "3ffe:ffff::", "2620:4f:7fff::", "2620:4f:8001::",
]  # fmt: skip


@pytest.mark.parametrize("block", SPECIAL)
def test_a_special_block_is_forbidden_from_its_first_to_its_last_address(block: str) -> None:
    """Also inside every IPv6 form that carries an IPv4 address."""
    network = ip_network(block)
    for address in (network.network_address, network.broadcast_address):
        assert not is_allowed(str(address), 443, PUBLIC)
        if isinstance(address, IPv4Address):
            for form in carriers(address):
                assert not is_allowed(form, 443, PUBLIC), form


@pytest.mark.parametrize("address", JUST_OUTSIDE_AND_PUBLIC)
def test_what_is_just_outside_is_allowed(address: str) -> None:
    """Also through NAT64, so that a DNS64 network reaches public receivers."""
    assert is_allowed(address, 443, PUBLIC)
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        for form in carriers(parsed):
            assert is_allowed(form, 443, PUBLIC), form


V4_BLOCKS = [ip_network(block) for block in SPECIAL if "." in block]


@given(st.one_of(
    st.integers(0, 2**32 - 1),
    st.builds(lambda block, by: (int(block.network_address) + by) % 2**32, st.sampled_from(V4_BLOCKS), st.integers(-2, 2)),
    st.builds(lambda block, by: (int(block.broadcast_address) + by) % 2**32, st.sampled_from(V4_BLOCKS), st.integers(-2, 2)),
))  # fmt: skip
def test_an_ipv4_address_is_public_just_when_no_special_block_has_it(number: int) -> None:
    """Tried at the edges of every block; the forms that carry it are judged as it is, by another list than the code's."""
    address = IPv4Address(number)
    expected = not any(address in block for block in V4_BLOCKS)
    for form in (str(address), *carriers(address)):
        assert is_allowed(form, 443, PUBLIC) is expected, form


V6_BLOCKS = [ip_network(block) for block in SPECIAL if ":" in block]
CARRYING = [ip_network(block) for block in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16")]


@given(st.builds(
    lambda block, last, by: (int(block.broadcast_address if last else block.network_address) + by) % 2**128,
    st.sampled_from([*V6_BLOCKS, ip_network("2000::/3")]), st.booleans(), st.integers(-2, 2),
))  # fmt: skip
def test_an_ipv6_address_is_public_just_when_it_is_global_and_no_special_block_has_it(number: int) -> None:
    """Tried at the edges of every block."""
    address = IPv6Address(number)
    if any(address in block for block in CARRYING):
        return
    expected = address in ip_network("2000::/3") and not any(address in block for block in V6_BLOCKS)
    assert is_allowed(str(address), 443, PUBLIC) is expected


def carriers(address: IPv4Address) -> list[str]:
    """The IPv6 forms of an IPv4 address: compatible, mapped, 6to4 and NAT64."""
    number = int(address)
    forms = [number, 0xFFFF << 32 | number, 0x2002 << 112 | number << 80, 0x64FF9B << 96 | number]
    return [str(IPv6Address(form)) for form in forms]


@given(st.integers(0, 2**128 - 1))
def test_ipv6_outside_what_is_globally_assigned_is_refused(number: int) -> None:
    """But for the forms that carry an IPv4 address."""
    address = IPv6Address(number)
    carries = (
        address in ip_network("::/96")
        or address in ip_network("::ffff:0:0/96")
        or address in ip_network("64:ff9b::/96")
    )
    if number >> 125 != 1 and not carries:
        assert not is_allowed(str(address), 443, PUBLIC)


def test_teredo_and_isatap_are_refused() -> None:
    """Whatever address is inside."""
    for address in ("2001:0:808:808::1", "2606:4700::5efe:808:808", "2606:4700::200:5efe:808:808"):
        assert not is_allowed(address, 443, PUBLIC)


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
    "http:// is for localhost in development alone (egress.allow_localhost); use https://": [
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
