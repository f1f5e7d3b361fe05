"""The example of docs/proxy.md: squid with exactly that configuration, among public and private addresses."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import tempfile
from pathlib import Path

import pytest
import trustme

from almirant_webhooks.rules.proxies import parse_proxy
from almirant_webhooks.rules.urls import Policy
from almirant_webhooks.sending.sender import Sender

from ..sending.test_sender import claim
from ..support import needs
from ..support.hostile import OK, read_request
from ..support.network import PUBLIC, in_a_network_of_its_own, names
from ..support.proxies import running

DOCUMENT = Path(__file__).parents[2] / "docs" / "proxy.md"
HOSTS = ("good.test", "inner.test", "mixed.test", "metadata.test", "nowhere.test")


def configuration(passwords: str) -> str:
    """The block of the document with the test's address and places, and no file that squid keeps of its own."""
    block = re.search(r"<!-- squid -->\n```squid\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    text = block[1]
    for old, new in (
        ("http_port 3128", "http_port 127.0.0.1:3128"),
        ("src 10.0.0.5/32", "src 127.0.0.1/32"),
        ("/etc/squid/passwords", passwords),
    ):
        assert old in text
        text = text.replace(old, new)
    return (
        text
        + "pid_filename none\naccess_log none\ncache_log /dev/null\nvisible_hostname proxy.test\npinger_enable off\n"
    )


async def scenario() -> dict[str, tuple[str, str | None]]:
    """Ask the receivers of each kind through squid; return how each attempt ended."""
    await names(
        good_test=[PUBLIC], inner_test=["10.0.0.1"], mixed_test=[PUBLIC, "10.0.0.1"], metadata_test=["169.254.169.254"]
    )
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(tls)
    reached: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(writer.get_extra_info("sockname")[0])
        await read_request(reader)
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    for address in (PUBLIC, "10.0.0.1", "169.254.169.254", "127.0.0.1"):
        await asyncio.start_server(serve, address, 443, ssl=tls)
    ended: dict[str, tuple[str, str | None]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        passwords = folder / "passwords"
        made = subprocess.run(
            [needs.program("openssl"), "passwd", "-apr1", "a word"], capture_output=True, text=True, check=True
        )
        passwords.write_text(f"almirant:{made.stdout}")
        passwords.chmod(0o644)
        (folder / "squid.conf").write_text(configuration(str(passwords)))
        (folder / "ca.pem").write_bytes(authority.cert_pem.bytes())
        command = [needs.program("squid"), "-N", "-f", str(folder / "squid.conf")]
        async with running(command, folder / "out", 3128):
            for user, hosts in (("almirant:a%20word", HOSTS), ("almirant:another", HOSTS[:1])):
                url = f"http://{user}@127.0.0.1:3128"
                sender = Sender(
                    Policy(), timeout=20, max_response_body=100, ca_file=str(folder / "ca.pem"), proxy=parse_proxy(url)
                )
                await sender.start()
                for host in hosts:
                    result = await sender.send(claim(f"https://{host}/in"))
                    ended[f"{user} {host}"] = (result.outcome.value, result.cause)
                await sender.close()
    assert set(reached) == {PUBLIC}
    return ended


@pytest.mark.long
def test_squid_as_the_page_has_it_closes_private_networks() -> None:
    """A public receiver is reached; a name that leads inward, with a public address beside it too, is refused."""
    needs.program("squid")
    word = "almirant:a%20word"
    assert in_a_network_of_its_own("tests.docs.test_proxy:scenario") == {
        f"{word} good.test": ["success", None],
        f"{word} inner.test": ["blocked", "the proxy refused the receiver (403)"],
        f"{word} mixed.test": ["blocked", "the proxy refused the receiver (403)"],
        f"{word} metadata.test": ["blocked", "the proxy refused the receiver (403)"],
        f"{word} nowhere.test": ["connection_error", "the proxy could not reach the receiver (503)"],
        "almirant:another good.test": ["interrupted", "the proxy wants another user or password (407)"],
    }
