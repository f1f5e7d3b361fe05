"""A network of one's own: namespaces with public and private addresses on `lo`, and a DNS server that answers as told.

`in_a_network_of_its_own("module:function")` runs a coroutine function in there, by a process of its own, and returns
what it printed as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import needs

ADDRESSES = ("93.184.216.34/32", "10.0.0.1/32", "169.254.169.254/32", "2606:4700::1111/128", "fd00::1/128")
PUBLIC, PUBLIC_V6 = "93.184.216.34", "2606:4700::1111"
A, CNAME, AAAA = 1, 5, 28
_SO_RCVBUFFORCE = 33  # of Linux; Python has no name for it


@dataclass
class Names(asyncio.DatagramProtocol):
    """A DNS server: a name's addresses, `->` another name, or None for no answer ever; what is unknown is nowhere."""

    table: dict[str, list[str] | str | None] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
            at += data[at] + 1
        kind = struct.unpack(">H", data[at + 1 : at + 3])[0]
        name = ".".join(labels)
        self.asked.append(name)
        found = self.table.get(name, [])
        if found is None:
            return
        records = []
        if isinstance(found, str):
            alias = b"".join(bytes([len(part)]) + part.encode() for part in found.split(".")) + b"\0"
            records.append(b"\xc0\x0c" + struct.pack(">HHIH", CNAME, 1, 0, len(alias)) + alias)
            owner, addresses = alias, self.table[found]
        else:
            owner, addresses = b"\xc0\x0c", found
        for address in addresses or ():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if kind == (AAAA if family == socket.AF_INET6 else A):
                packed = socket.inet_pton(family, address)
                records.append(owner + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed)
        code = 0 if name in self.table else 3
        head = data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        self._transport.sendto(head + data[12 : at + 5] + b"".join(records), peer)


async def names(**table: list[str] | str | None) -> Names:
    """Start the DNS server of this network; `good_test` stands for `good.test`."""
    there = Names({name.replace("_", "."): found for name, found in table.items()})
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: there, local_addr=("127.0.0.1", 53)
    )
    # Hundreds ask at once, and a question that is dropped is not asked again.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 2**24)
    return there


_SETUP = """
set -e
ip link set lo up
for address in $ADDRESSES; do ip addr add "$address" dev lo nodad 2>/dev/null || ip addr add "$address" dev lo; done
mount --bind "$FOLDER/resolv.conf" "$(readlink -f /etc/resolv.conf)"
mount --bind "$FOLDER/nsswitch.conf" /etc/nsswitch.conf
exec "$@"
"""


def in_a_network_of_its_own(where: str) -> Any:
    """Run `module:function` in there and return what it returned."""
    needs.namespaces()
    with tempfile.TemporaryDirectory() as folder:
        # A look-up that nobody answers lasts longer than a process may.
        (Path(folder) / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
        (Path(folder) / "nsswitch.conf").write_text("hosts: files dns\n")
        command = [
            "unshare",
            "--net",
            "--mount",
            "sh",
            "-c",
            _SETUP,
            "sh",
            sys.executable,
            "-m",
            "tests.support.network",
            where,
        ]
        done = subprocess.run(
            command,
            env={**os.environ, "ADDRESSES": " ".join(ADDRESSES), "FOLDER": folder},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(asyncio.run(getattr(importlib.import_module(module), function)())), flush=True)
