"""Which addresses are public, by an explicit table from IANA's special-purpose registries.

Sources: https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry (the tests hold
this table against both, as of 2026-07-18); RFC 5156, 6052, 3056. `ipaddress`'s own flags differ between Python versions
and are not used.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_FORBIDDEN_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared address space (CGNAT)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata and DNS
        "169.254.0.0/16",  # link-local, the metadata address 169.254.169.254 in it
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relay, withdrawn
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, limited broadcast
    )
)
_FORBIDDEN_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_MAPPED = IPv6Network("::ffff:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
LOOPBACK_V4 = IPv4Network("127.0.0.0/8")
LOOPBACK_V6 = IPv6Address("::1")


def inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 form carries (mapped, compatible, 6to4, NAT64), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    number = int(address)
    if address in _MAPPED or address in _NAT64 or (address in _COMPATIBLE and number > 1):
        return IPv4Address(number & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address((number >> 80) & 0xFFFFFFFF)
    return address


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is public. IPv6 is refused outside 2000::/3, the globally assigned part."""
    address = inner(address)
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _FORBIDDEN_V4)
    if address not in _GLOBAL_V6 or any(address in block for block in _FORBIDDEN_V6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP


def is_loopback(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is in 127.0.0.0/8 or is ::1, also inside an IPv6 form."""
    address = inner(address)
    return address == LOOPBACK_V6 if isinstance(address, IPv6Address) else address in LOOPBACK_V4


def parse(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address, without a zone, or return None."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None
