"""TLS to receivers: protocol versions, trusted authorities, and the check of certificate names."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from typing import Any

from ..model import Misconfigured
from ..rules import addresses
from .causes import wrong_name


class Tls:
    """The TLS contexts of connections. `ca_file` adds a private CA; raises `Misconfigured` if it cannot be used."""

    def __init__(self, ca_file: str = "") -> None:
        self._strict = _context(ca_file, check_hostname=True)
        self._names_checked_here = _context(ca_file, check_hostname=False)

    def context(self, host: str) -> ssl.SSLContext:
        """Return the context for a host. Call `check` after the handshake."""
        return self._names_checked_here if _is_odd(host) else self._strict

    def check(self, host: str, certificate: Mapping[str, Any] | None) -> None:
        """Raise `SSLCertVerificationError` unless a certificate, which is trusted, is for this host.

        It is needed for host names with `_`: in OpenSSL 3.0 `*` does not match them, but in curl, Node.js and browsers it
        does, and names in DNS may have it.
        """
        if _is_odd(host) and not is_for(host, certificate or {}):
            raise wrong_name()


def is_for(host: str, certificate: Mapping[str, Any]) -> bool:
    """Return whether a DNS name of a certificate is this host, or `*.` and its domain (RFC 9525, section 6.3)."""
    host = host.lower()
    label, _, domain = host.partition(".")
    names = {name.lower() for kind, name in certificate.get("subjectAltName", ()) if kind == "DNS"}
    return host in names or (bool(label) and "." in domain and f"*.{domain}" in names)


def _is_odd(host: str) -> bool:
    return "_" in host and addresses.parse(host) is None


@functools.cache  # reading the system's certificates takes 25 ms
def _context(ca_file: str, *, check_hostname: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The same on every Python: 3.13 adds a strict check that refuses certificates of a plain `openssl req`.
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])  # some receivers end a handshake that names no protocol
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"egress.ca_file {ca_file} cannot be used: {error}.") from None
    return context
