"""A local nginx as receiver: it reads each request's body and answers 200 with a short one, over kept connections."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

_CONF = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 60s;
    keepalive_requests 100000000;
    client_body_buffer_size 512k;
    client_max_body_size 1m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{tls} ssl;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        location / {{ return 200 "thanks\\n"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """Where it listens, and the certificate that signs for it."""

    http: str
    tls: str
    ca_file: Path


@contextmanager
def nginx(folder: Path) -> Iterator[Nginx]:
    """Run nginx with its files in `folder`."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise SystemExit("The benchmarks need nginx: apt-get install nginx-light")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for number, pem in enumerate(certificate.cert_chain_pems):
        pem.write_to_path(folder / "cert.pem", append=number > 0)
    http, tls = free_port(), free_port()
    (folder / "nginx.conf").write_text(_CONF.format(folder=folder, http=http, tls=tls))
    running = subprocess.Popen([program, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
    try:
        wait_for(http)
        yield Nginx(f"http://127.0.0.1:{http}", f"https://127.0.0.1:{tls}", folder / "ca.pem")
    finally:
        running.terminate()
        running.wait()


def free_port() -> int:
    """Return a port of loopback that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens on a port of loopback."""
    for _ in range(1000):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"Nobody listens on port {port}.")
