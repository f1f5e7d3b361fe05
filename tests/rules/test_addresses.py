"""The address policy against IANA's special-purpose registries themselves, which are fixtures in the form IANA publishes.

Source: iana-ipv4-special-registry-1.csv and iana-ipv6-special-registry-1.csv of
https://www.iana.org/assignments/iana-ipv4-special-registry/ and …/iana-ipv6-special-registry/, as they stood on
2026-07-18. They came by way of two public copies that are equal to the byte (the CSVs that Plausible Analytics ships,
and the dated snapshot of another project), not from IANA's site. To renew: put the two files of IANA in their place.
"""

from __future__ import annotations

import csv
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks.rules.urls import Policy, is_allowed

PUBLIC = Policy()
REGISTRIES = Path(__file__).parents[1] / "fixtures" / "iana"
# The forms that carry an IPv4 address are judged by it, not by the registry.
CARRYING = [ip_network(block) for block in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16")]
# What is never dialled and in no registry of special purposes: multicast, site-local, IPv4-translated, metadata.
BESIDE = [
    "224.0.0.0/4", "168.63.129.16/32", "ff00::/8", "fec0::/10", "::ffff:0:0:0/96", "169.254.169.254/32",
    "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128",
]  # fmt: skip
JUST_OUTSIDE_AND_PUBLIC = [
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
    "192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0", "192.88.98.255", "192.88.100.0",
    "192.167.255.255", "192.169.0.0", "192.175.47.255", "192.175.49.0", "198.17.255.255", "198.20.0.0",
    "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "168.63.129.15",
    "168.63.129.17", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2000::",
    "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2606:4700::1111", "2003::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff:1000::", "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::",
]  # fmt: skip


def registered(name: str) -> list[IPv4Network | IPv6Network]:
    """Every block of a registry, those marked globally reachable too: anycast services, where no receiver lives."""
    with (REGISTRIES / name).open(newline="") as file:
        cells = [row["Address Block"] for row in csv.DictReader(file)]
    return [ip_network(block.split("[")[0].strip()) for cell in cells for block in cell.split(",")]


REGISTERED = [*registered("iana-ipv4-special-registry-1.csv"), *registered("iana-ipv6-special-registry-1.csv")]
SPECIAL = [block for block in [*REGISTERED, *map(ip_network, BESIDE)] if block not in CARRYING]
V4_BLOCKS = [block for block in SPECIAL if isinstance(block, IPv4Network)]
V6_BLOCKS = [block for block in SPECIAL if isinstance(block, IPv6Network)]


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """The rule by the registries alone, with nothing of the code's in it; not for forms that carry an IPv4 address."""
    if isinstance(address, IPv4Address):
        return not any(address in block for block in V4_BLOCKS)
    return address in ip_network("2000::/3") and not any(address in block for block in V6_BLOCKS)


def carriers(address: IPv4Address) -> list[str]:
    """The IPv6 forms of an IPv4 address: compatible, mapped, 6to4 and NAT64."""
    number = int(address)
    forms = [number, 0xFFFF << 32 | number, 0x2002 << 112 | number << 80, 0x64FF9B << 96 | number]
    return [str(IPv6Address(form)) for form in forms]


def test_the_registries_are_whole() -> None:
    """26 blocks of IPv4 and 25 of IPv6, the newest of each among them."""
    assert [sum(block.version == version for block in REGISTERED) for version in (4, 6)] == [26, 25]
    assert {ip_network("192.0.0.10/32"), ip_network("100:0:0:1::/64"), ip_network("3fff::/20")} <= set(REGISTERED)


@pytest.mark.parametrize("block", SPECIAL, ids=str)
def test_a_special_block_is_forbidden_from_its_first_to_its_last_address(block: IPv4Network | IPv6Network) -> None:
    """Also inside every IPv6 form that carries an IPv4 address."""
    for address in (block.network_address, block.broadcast_address, block[block.num_addresses // 2]):
        assert not is_allowed(str(address), 443, PUBLIC)
        if isinstance(address, IPv4Address):
            for form in carriers(address):
                assert not is_allowed(form, 443, PUBLIC), form


@pytest.mark.parametrize("block", SPECIAL, ids=str)
def test_just_outside_of_a_special_block_no_other_rule_is_in_force(block: IPv4Network | IPv6Network) -> None:
    """An address next to it is forbidden only if another block has it."""
    for number in (int(block.network_address) - 1, int(block.broadcast_address) + 1):
        if 0 <= number < 2**block.max_prefixlen:
            address = IPv4Address(number) if block.version == 4 else IPv6Address(number)
            if not any(address in carrying for carrying in CARRYING):
                assert is_allowed(str(address), 443, PUBLIC) is is_public(address), address


@pytest.mark.parametrize("address", JUST_OUTSIDE_AND_PUBLIC)
def test_what_is_just_outside_is_allowed(address: str) -> None:
    """Written out; also through NAT64, so that a DNS64 network reaches public receivers."""
    assert is_allowed(address, 443, PUBLIC)
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        for form in carriers(parsed):
            assert is_allowed(form, 443, PUBLIC), form


@given(st.one_of(
    st.integers(0, 2**32 - 1),
    st.builds(lambda block, by: (int(block.network_address) + by) % 2**32, st.sampled_from(V4_BLOCKS), st.integers(-2, 2)),
    st.builds(lambda block, by: (int(block.broadcast_address) + by) % 2**32, st.sampled_from(V4_BLOCKS), st.integers(-2, 2)),
))  # fmt: skip
def test_an_ipv4_address_is_public_just_when_no_special_block_has_it(number: int) -> None:
    """Anywhere, and at the edges of every block; the forms that carry it are judged as it is."""
    address = IPv4Address(number)
    for form in (str(address), *carriers(address)):
        assert is_allowed(form, 443, PUBLIC) is is_public(address), form


@given(st.one_of(
    st.integers(2**125, 2**126 - 1),
    st.builds(
        lambda block, last, by: (int(block.broadcast_address if last else block.network_address) + by) % 2**128,
        st.sampled_from([*V6_BLOCKS, ip_network("2000::/3")]), st.booleans(), st.integers(-2, 2),
    ),
))  # fmt: skip
def test_an_ipv6_address_is_public_just_when_it_is_global_and_no_special_block_has_it(number: int) -> None:
    """Anywhere in what is globally assigned, and at the edges of every block."""
    address = IPv6Address(number)
    isatap = (number >> 32) & 0xFDFFFFFF == 0x5EFE
    if any(address in block for block in CARRYING) or isatap:
        return
    assert is_allowed(str(address), 443, PUBLIC) is is_public(address)


@given(st.integers(0, 2**128 - 1))
def test_ipv6_outside_what_is_globally_assigned_is_refused(number: int) -> None:
    """But for the forms that carry an IPv4 address."""
    address = IPv6Address(number)
    if number >> 125 != 1 and not any(address in block for block in CARRYING):
        assert not is_allowed(str(address), 443, PUBLIC)


def test_teredo_and_isatap_are_refused() -> None:
    """Whatever address is inside."""
    for address in ("2001:0:808:808::1", "2606:4700::5efe:808:808", "2606:4700::200:5efe:808:808"):
        assert not is_allowed(address, 443, PUBLIC)
