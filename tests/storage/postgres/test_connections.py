"""Connections to a server that is reached by TCP: TLS with `sslmode=verify-full`, and passwords where libpq looks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from almirant_webhooks.rules.postgres_urls import Place, parse_postgres_url
from almirant_webhooks.storage.postgres import opening
from almirant_webhooks.storage.postgres.errors import ServerAway
from almirant_webhooks.storage.postgres.tables import migrate

from ...conftest import Receiver
from ...support import ports
from ...support.postgres import FAST, Server, new_database
from ...support.postgres_roles import make_daemon_role
from ...support.postgres_service import PostgresService, shell_of
from ...support.shell import Shell

pytestmark = pytest.mark.slow

PASSWORD = "hush: it's a secret"
QUOTED = "hush%3A%20it%27s%20a%20secret"


class Remote:
    """A server as it is elsewhere: by TCP with TLS alone, for a role with a password. Its certificate is for localhost."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(f"{FAST} -c listen_addresses=localhost", port=ports.free_port())
        self.outbox = new_database(with_outbox=False, its_server=self.server)
        with self.outbox.session() as session:
            migrate(session)
        self.role = make_daemon_role(self.outbox)
        self.outbox.ask(f"ALTER ROLE {self.role} PASSWORD $${PASSWORD}$$")
        self._protect(folder)
        self.base = f"localhost:{self.server.port}/{self.outbox.database}?sslmode=verify-full"

    def _protect(self, folder: Path) -> None:
        authority, self.ca_file, self.other_ca = trustme.CA(), folder / "ca.pem", folder / "other.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        trustme.CA().cert_pem.write_to_path(str(self.other_ca))
        made = authority.issue_cert("localhost")
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        cert = self.server.write("server.crt", chain)
        key = self.server.write("server.key", made.private_key_pem.bytes())
        self.server.write("data/pg_hba.conf", "local all all trust\nhostssl all all all scram-sha-256\n")
        self.server.write(
            "data/postgresql.auto.conf",
            f"ssl = on\nssl_cert_file = '{self.server.named(cert)}'\nssl_key_file = '{self.server.named(key)}'\n",
        )
        self.server.stop()
        self.server.start()

    def url(self, user: str = "", **options: object) -> str:
        """Return a URL of it, with the authority that signed its certificate unless another is named."""
        words = "&".join(f"{key}={value}" for key, value in {"sslrootcert": self.ca_file, **options}.items())
        return f"postgresql://{user or self.role}@{self.base}&{words}"

    def passfile(self, folder: Path) -> Path:
        """Write a file with the password that nobody else may read."""
        path = folder / "passwords"
        path.write_text(f"localhost:{self.server.port}:*:{self.role}:{PASSWORD.replace(':', chr(92) + ':')}\n")
        path.chmod(0o600)
        return path


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    made = Remote(tmp_path_factory.mktemp("remote"))
    yield made
    made.server.remove()


def place(url: str) -> Place:
    parsed = parse_postgres_url(url)
    assert parsed is not None
    return Place(parsed, "almirant_webhooks")


async def test_a_daemon_delivers_by_tls_with_a_password_from_a_file(
    remote: Remote, tmp_path: Path, receiver: Receiver
) -> None:
    """Each of its connections is protected, that which listens included."""
    service = PostgresService(tmp_path / "hooks.db", remote.outbox)
    service.url = remote.url(passfile=remote.passfile(tmp_path))
    sessions = f"FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '{remote.role}'"
    try:
        daemon = await service.start()
        service.webhook(receiver.url)
        service.commit()
        await service.until(lambda: service.states() == [("succeeded", 1)] and service.is_marked())
        await service.until(lambda: service.ask(f"SELECT 1 {sessions} AND query LIKE 'LISTEN%'"))
        assert service.ask(f"SELECT bool_and(ssl), count(*) >= 3 {sessions}") == (True, True)
        assert daemon.not_ready() is None
    finally:
        await service.close()


def test_a_server_that_is_not_the_one_of_the_url_gets_no_password(remote: Remote) -> None:
    """A certificate of another authority, or for another name: refused, and the password is in no message."""
    user = f"{remote.role}:{QUOTED}"
    with closing(opening.open_outbox(place(remote.url(user)))):
        pass
    by_address = remote.url(user).replace("@localhost:", "@127.0.0.1:")
    wrong_password = remote.url(f"{remote.role}:hush%21")
    for url, words in (
        (remote.url(user, sslrootcert=remote.other_ca), "certificate verify failed"),
        (by_address, "does not match host name"),
        (wrong_password, "password authentication failed"),
        (remote.url(user).replace("sslmode=verify-full", "sslmode=disable"), "no encryption"),
    ):
        with pytest.raises(ServerAway, match=words) as raised:
            opening.open_outbox(place(url))
        said = str(raised.value.explained(place(url)))
        assert words in said
        assert "hush" not in said


def doctor(shell: Shell, url: str) -> str:
    shell.config.write_text(shell.config.read_text().partition("[outbox]")[0] + f'[outbox]\nurl = "{url}"\n')
    return shell.ours("doctor", code=1)  # no daemon runs there


def test_the_password_is_where_libpq_looks_for_it(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file of the URL or of the environment, or in a service file with all else; `doctor` never shows it."""
    shell = shell_of(tmp_path, remote.outbox)
    shell.ours("migrate")
    words = f"as {remote.role}."
    passfile = remote.passfile(tmp_path)
    said = doctor(shell, remote.url(passfile=passfile))
    assert words in said
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    said += doctor(shell, remote.url())
    monkeypatch.delenv("PGPASSFILE")
    services = tmp_path / "services"
    services.write_text(
        f"[shop]\nhost=localhost\nport={remote.server.port}\ndbname={remote.outbox.database}\nuser={remote.role}\n"
        f"password={PASSWORD}\nsslmode=verify-full\nsslrootcert={remote.ca_file}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    said += doctor(shell, "postgresql:///?service=shop")
    assert said.count(words) == 3
    assert "hush" not in said


def test_a_file_of_passwords_that_others_may_read_is_not_used(remote: Remote, tmp_path: Path) -> None:
    """By libpq: the message says that no password was supplied."""
    passfile = remote.passfile(tmp_path)
    passfile.chmod(0o644)
    with pytest.raises(ServerAway, match="no password supplied"):
        opening.open_outbox(place(remote.url(passfile=passfile)))
