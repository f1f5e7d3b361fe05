"""`migrate --producer ROLE`, and what `migrate` says of a database in PostgreSQL that cannot have an outbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support.postgres import Outbox, new_database
from ..support.postgres_roles import make_role
from ..support.postgres_service import shell_of
from ..support.shell import Shell

pytestmark = [pytest.mark.long, pytest.mark.sqlite]


def test_a_role_is_granted_what_a_producer_needs_and_can_be_again(tmp_path: Path) -> None:
    """The tables are made first, if they are not there."""
    outbox = new_database(with_outbox=False)
    role = make_role(outbox, "shop")
    shell = shell_of(tmp_path, outbox)
    for _ in range(2):
        shell.ours("migrate", "--producer", role)
    with outbox.connect(role) as conn:
        conn.execute("INSERT INTO outbox (project_id, event_type, payload) VALUES ('p', 'a.b', '{}') RETURNING id")


def test_a_role_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    """Exit 1, whatever its name looks like."""
    shell = shell_of(tmp_path, new_database())
    for name in ("nobody at all", 'we "ird"; --', "", "\udcff"):
        said = shell.ours("migrate", "--producer", name, code=1)
        assert f"there is no role {name!r}" in said


def test_who_may_not_grant_is_told_who_may(tmp_path: Path) -> None:
    """Exit 78, with the owner and the statements."""
    outbox = new_database()
    daemon, role = make_role(outbox, "daemon"), make_role(outbox, "shop")
    outbox.ask(f"GRANT USAGE ON SCHEMA almirant_webhooks TO {daemon}")
    outbox.ask(f"GRANT ALL ON ALL TABLES IN SCHEMA almirant_webhooks TO {daemon}")
    outbox.url = outbox.server.url(outbox.database, daemon)
    said = shell_of(tmp_path, outbox).ours("migrate", "--producer", role, code=78)
    assert f"the role {daemon} may not hand on rights on the outbox, which belongs to postgres" in said
    assert f'GRANT USAGE ON SCHEMA almirant_webhooks TO "{role}"' in said


def test_an_outbox_in_a_file_knows_no_roles(shell: Shell) -> None:
    """Exit 1, and what says there who may insert."""
    assert "the outbox is in a file" in shell.ours("migrate", "--producer", "shop", code=1)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_in_utf_8_is_refused(tmp_path: Path, encoding: str) -> None:
    """Exit 78, before anything is made there."""
    outbox = new_database(with_outbox=False)
    name = f"{outbox.database}_{encoding.lower()}"
    with outbox.server.connect(autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    other = Outbox(outbox.server, name)
    said = shell_of(tmp_path, other).ours("migrate", code=78)
    assert f"the database's encoding is {encoding}; the outbox needs one in UTF8" in said
    with outbox.server.connect(name) as conn:
        assert conn.execute("SELECT to_regnamespace('almirant_webhooks')").fetchone() == (None,)
