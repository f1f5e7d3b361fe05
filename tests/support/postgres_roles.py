"""An application beside the outbox in PostgreSQL: its own role, with the rights of a producer, and a business table."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import psycopg

from almirant_webhooks.storage.postgres.grants import grant_producer

from .postgres import Outbox

PAGE = (Path(__file__).parents[2] / "docs" / "producers-postgres.md").read_text(encoding="utf-8")
_numbers = itertools.count(1)


def make_role(outbox: Outbox, name: str) -> str:
    """Make a role that may do what everybody may; return its name, which no other has."""
    role = f"{name}_{next(_numbers)}"
    outbox.ask(f"CREATE ROLE {role} LOGIN")
    return role


def grants(name: str, **roles: str) -> str:
    """Return a block of the page, for other roles than those that it names."""
    found = re.search(rf"^<!-- grants: {name} -->\n```sql\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    text = found[1]
    for named, role in roles.items():
        text = re.sub(rf"\bTO {named}\b", f"TO {role}", text)
    return text


def make_daemon_role(outbox: Outbox) -> str:
    """Make a role that has the rights of the daemon, and is no superuser."""
    role = make_role(outbox, "daemon")
    outbox.ask(grants("daemon", almirant_webhooks=role))
    return role


class Application:
    """A role of its own, which owns the table `orders` and is granted what a producer needs."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.role = make_role(outbox, "shop")
        self.url = outbox.server.url(outbox.database, self.role)
        for statement in (
            "CREATE TABLE public.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text)",
            f"ALTER TABLE public.orders OWNER TO {self.role}",
            f"GRANT CREATE ON SCHEMA public TO {self.role}",
        ):
            outbox.ask(statement)
        with outbox.session() as session:
            grant_producer(session, self.role)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Connect as the application."""
        return self.outbox.connect(self.role, **options)

    def events(self) -> list[tuple[Any, ...]]:
        """What the outbox has."""
        return self.outbox.ask("SELECT project_id, event_type, payload, event_id FROM outbox ORDER BY id")

    def orders(self) -> list[str]:
        return [item for (item,) in self.outbox.ask("SELECT item FROM orders ORDER BY id")]

    def forget_events(self) -> None:
        self.outbox.ask("DELETE FROM outbox")

    def refuse_commits(self) -> None:
        """Let every transaction that writes an order fail at its COMMIT."""
        for statement in (
            "CREATE FUNCTION public.close() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the shop is closed'; END $$",
            "CREATE CONSTRAINT TRIGGER closed AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION public.close()",
        ):
            self.outbox.ask(statement)
