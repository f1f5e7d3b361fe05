"""Which certificates are accepted: the same ones on every Python and with every OpenSSL."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from almirant_webhooks.client import Client

from ..support.hostile import OK, answering, server
from .test_sender import claim, sender

ANSWER = answering(OK + b"Content-Length: 0\r\n\r\n")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _plain_chain(folder: Path) -> ssl.SSLContext:
    """Make a CA (ca.pem) and a certificate as `openssl req -x509` and `openssl x509 -req` do without more options.

    What RFC 5280 asks for is missing: the CA's basicConstraints are not critical and it has no keyUsage, and the
    certificate has no authorityKeyIdentifier.
    """
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    base = x509.CertificateBuilder().not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    base = base.issuer_name(_name("a plain CA"))
    ca = base.subject_name(_name("a plain CA")).public_key(ca_key.public_key()).serial_number(1)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    leaf = base.subject_name(_name("localhost")).public_key(key.public_key()).serial_number(2)
    leaf = leaf.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (folder / "leaf.pem").write_bytes(
        leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "leaf.pem")
    return tls


async def _cause(tls: ssl.SSLContext, ca_file: Path) -> str | None:
    """Return why an attempt at a server with these certificates failed, or None."""
    async with server(ANSWER, tls) as port, sender(ca_file=str(ca_file), timeout=10) as sending:
        return (await sending.send(claim(f"https://localhost:{port}/"))).cause


async def test_a_private_ca_made_with_plain_options_of_openssl_is_accepted(tmp_path: Path) -> None:
    """Python 3.13 and later refuse it by default ("Missing Authority Key Identifier")."""
    assert await _cause(_plain_chain(tmp_path), tmp_path / "ca.pem") is None


async def test_the_client_of_the_api_accepts_it_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a proxy with such a certificate stands before the service; others are refused as ever."""
    answer = answering(OK + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    tls = _plain_chain(tmp_path)
    async with server(answer, tls) as port:
        client = Client(f"https://localhost:{port}", "token")
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(client.send_event, "lead.created", {})
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert not await asyncio.to_thread(client.send_event, "lead.created", {})


async def test_an_intermediate_in_the_ca_file_is_trusted_without_its_root(tmp_path: Path) -> None:
    """Before 3.13 Python refuses that by default; other certificates of the same root are refused everywhere."""
    root = trustme.CA()
    inner, other = root.create_child_ca(), root.create_child_ca()
    inner.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for authority, words in ((inner, None), (other, "the certificate was not accepted")):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        cause = await _cause(tls, tmp_path / "ca.pem")
        assert cause is None if words is None else words in str(cause)
