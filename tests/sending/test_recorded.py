"""What the log says of receivers that go wrong, whole and word by word: the real daemon, real sockets, real TLS."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ..support.hostile import OK, answering, read_request, server
from ..support.service import Service
from .test_hostile import _succeeded

REJECTED = "TLS: the certificate was not accepted: "
DAY = timedelta(days=1)


def _of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(tls)
    return tls


def _self_signed(folder: Path) -> ssl.SSLContext:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime.now(UTC) - DAY).not_valid_after(datetime.now(UTC) + DAY)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "self-signed.pem").write_bytes(private + public)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "self-signed.pem")
    return tls


@contextmanager
def _old_tls(certificate: trustme.LeafCert, version: ssl.TLSVersion) -> Iterator[int]:
    """A server of TLS 1.0 or 1.1 alone, on blocking sockets: asyncio's servers drop the alert that says so."""
    tls = _of(certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = version
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listening.accept()[0] as peer, suppress(ssl.SSLError):
                        tls.wrap_socket(peer, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@asynccontextmanager
async def _plain(answer: bytes) -> AsyncIterator[int]:
    """A server that answers in the clear whatever it is sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        await writer.drain()
        await reader.read()

    async with server(serve) as port:
        yield port


async def _recorded(service: Service, urls: dict[str, str]) -> dict[str, tuple[Any, ...]]:
    """Send an event to each; return what the log has of its one attempt."""
    service.options["delivery"] = {"retry_schedule": ["0s", "1h"]}
    service.migrate()
    for url in urls.values():
        service.webhook(url)
    await service.start()
    service.insert()
    await service.until(lambda: len(service.log()) == len(urls) and all(row["attempts"] for row in service.log()))
    found = {}
    for row in service.log():
        (attempt,) = service.detail(row["delivery_id"])["attempt_list"]
        kind = next(kind for kind, url in urls.items() if url == row["url"])
        found[kind] = (attempt["outcome"], attempt["status_code"], attempt["cause"], row["state"])
    return found


async def test_each_failure_of_tls_is_recorded_with_its_reason(service: Service, tmp_path: Path) -> None:
    """The whole cause, in words that an admin can act on."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    service.options["egress"] = {"allow_localhost": True, "ca_file": str(tmp_path / "ca.pem")}
    good = ca.issue_cert("localhost", "127.0.0.1")
    certificates = {
        "good": _of(good),
        "expired": _of(ca.issue_cert("localhost", not_after=datetime.now(UTC) - DAY)),
        "not yet valid": _of(ca.issue_cert("localhost", not_before=datetime.now(UTC) + DAY)),
        "another name": _of(ca.issue_cert("example.com")),
        "unknown issuer": _of(trustme.CA().issue_cert("localhost")),
        "self-signed": _self_signed(tmp_path),
    }
    answer = answering(OK + b"Content-Length: 0\r\n\r\n")
    async with _plain(b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain:
        with _old_tls(good, ssl.TLSVersion.TLSv1) as tls_1_0, _old_tls(good, ssl.TLSVersion.TLSv1_1) as tls_1_1:
            ports = {"plain HTTP": plain, "TLS 1.0": tls_1_0, "TLS 1.1": tls_1_1}
            made = {kind: server(answer, tls) for kind, tls in certificates.items()}
            ports |= {kind: await one.__aenter__() for kind, one in made.items()}
            urls = {kind: f"https://localhost:{port}/in" for kind, port in ports.items()}
            urls["another address"] = f"https://127.0.0.1:{ports['another name']}/in"
            found = await _recorded(service, urls)
            for one in made.values():
                await one.__aexit__(None, None, None)
    assert found.pop("good") == ("success", 200, None, "succeeded")
    assert {outcome[:2] + outcome[3:] for outcome in found.values()} == {("connection_error", None, "pending")}
    assert {kind: cause for kind, (_, _, cause, _) in found.items()} == {
        "expired": f"{REJECTED}it has expired",
        "not yet valid": f"{REJECTED}it is not valid yet",
        "another name": f"{REJECTED}it is for another host name",
        "another address": f"{REJECTED}it is for another address",
        "unknown issuer": f"{REJECTED}its issuer is not known, or the receiver does not send the whole chain",
        "self-signed": f"{REJECTED}it is self-signed",
        "TLS 1.0": "TLS: the receiver does not speak TLS 1.2 or newer",
        "TLS 1.1": "TLS: the receiver does not speak TLS 1.2 or newer",
        "plain HTTP": "TLS: the receiver answered with something else than TLS",
    }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_and_loops_of_them_are_asked_once_and_followed_nowhere(service: Service, status: int) -> None:
    """To itself, to one another and inward: one request each, and the log shows where it would have led."""
    asked: list[str] = []
    locations: dict[str, str] = {}

    def redirecting(name: str) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await read_request(reader)
                asked.append(name)
                writer.write(
                    f"HTTP/1.1 {status} R\r\nLocation: {locations[name]}\r\nContent-Length: 0\r\n\r\n".encode()
                )

        return serve

    async with (
        server(redirecting("one")) as one,
        server(redirecting("two")) as two,
        server(redirecting("inward")) as inward,
        server(redirecting("itself")) as itself,
    ):
        urls = {
            name: f"http://127.0.0.1:{port}/in"
            for name, port in (("one", one), ("two", two), ("inward", inward), ("itself", itself))
        }
        locations |= {"one": urls["two"], "two": urls["one"], "itself": urls["itself"]}
        locations["inward"] = "http://169.254.169.254/latest/meta-data/"
        found = await _recorded(service, urls)
        shown = {
            row["url"]: dict(service.detail(row["delivery_id"])["attempt_list"][0]["response_headers"])["Location"]
            for row in service.log()
        }
    assert set(found.values()) == {("http_error", status, "redirects are not followed", "pending")}
    assert sorted(asked) == ["inward", "itself", "one", "two"]
    assert shown == {urls[name]: where for name, where in locations.items()}


async def test_a_cookie_is_sent_back_to_nobody(service: Service) -> None:
    """Neither by the same webhook nor by another project's at the same host; the log shows that there was one."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await read_request(reader)).decode())
            writer.write(OK + b"Set-Cookie: session=stolen; Path=/\r\nContent-Length: 0\r\n\r\n")

    async with server(serve) as port:
        service.migrate()
        for project in ("proj_1", "proj_2"):
            service.webhook(f"http://127.0.0.1:{port}/{project}", project=project)
        await service.start()
        for number in (1, 2, 3):
            for project in ("proj_1", "proj_2"):
                service.insert(project=project)
            await service.until(functools.partial(_succeeded, service, number * 2))
    assert len(heads) == 6
    assert not any("cookie" in head.lower() for head in heads)
    for row in service.log():
        (attempt,) = service.detail(row["delivery_id"])["attempt_list"]
        assert ["Set-Cookie", "(masked)"] in [list(pair) for pair in attempt["response_headers"]]
        assert "cookie" not in str(attempt["request_headers"]).lower()
