"""A database or a role with settings of its own, which change how statements are read and values are written."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from almirant_webhooks.rules.postgres_urls import check_schema

from ...conftest import Receiver
from ...support.postgres import new_database, new_tables
from ...support.postgres_service import EverythingInPostgres

ODD = {
    "times": ["datestyle = 'German'", "timezone = 'Asia/Kathmandu'", "intervalstyle = 'sql_standard'"],
    "values": [
        "array_nulls = off",
        "bytea_output = 'escape'",
        "extra_float_digits = -15",
        "transform_null_equals = on",
    ],
    "texts": ["standard_conforming_strings = off", "client_encoding = 'LATIN1'"],
    "transactions": ["default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on"],
    "plans": ["search_path = nowhere", "enable_nestloop = off", "enable_indexscan = off", "jit_above_cost = 0"],
}
PAYLOADS = ['{"a": "NULL"}', '{"a": "\\\\ \' \\" é €", "b": null}']
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

pytestmark = pytest.mark.slow


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[EverythingInPostgres]:
    """A daemon, not started yet."""
    there = EverythingInPostgres(tmp_path, new_tables())
    there.migrate()
    yield there
    await there.close()


@pytest.mark.parametrize("odd", ODD)
async def test_whatever_is_set_there_events_arrive_and_the_log_is_read(
    service: EverythingInPostgres, receiver: Receiver, odd: str
) -> None:
    """Each transaction sets what it needs."""
    for setting in ODD[odd]:
        service.there.ask(f"ALTER DATABASE {service.there.database} SET {setting}")
    await service.start(migrating=False)
    webhook = service.webhook(receiver.url, template='{"text": "{{ data.a }}"}')
    shell = service.shell()
    send = ("event", "send", "--project", "proj_1", "--type", "lead.created", "--data")
    for payload in PAYLOADS:
        shell.ours(*send, payload)
    await service.until(lambda: service.states() == [("succeeded", 1)] * 2)
    sent = [json.loads(request.body)["text"] for request in receiver.requests]
    assert sorted(sent) == sorted(json.loads(payload)["a"] for payload in PAYLOADS)
    for row in service.log():
        assert TIME.fullmatch(row["date"])
        shown = json.loads(shell.ours("delivery", "show", row["delivery_id"], "--json"))
        assert TIME.fullmatch(shown["attempt_list"][0]["started_at"])
        assert shown["attempt_list"][0]["cause"] is None
        assert row["event_id"] in shell.ours("event", "show", row["event_id"])
    shell.ours("webhook", "replay", webhook.id, "--since", "1h", "--yes", code=1)  # there is nothing to send
    for words in (("stats",), ("audit",), ("prune", "--dry-run"), ("webhook", "show", webhook.id)):
        shell.ours(*words)
    assert service.ask("SELECT count(*) FROM outbox") == (0,)
    await service.stop()


async def test_a_database_that_is_read_only_is_told_as_that(service: EverythingInPostgres) -> None:
    """By every command that writes; those that read go on."""
    service.webhook("http://127.0.0.1:9/")
    service.there.ask(f"ALTER DATABASE {service.there.database} SET default_transaction_read_only = on")
    shell = service.shell()
    assert "http://127.0.0.1:9/" in shell.ours("webhook", "list")
    shell.ours("stats")
    shell.ours("prune", "--dry-run")
    send = ("event", "send", "--project", "p", "--type", "lead.created", "--data", "{}")
    for words in (send, ("prune",), ("token", "--rotate", "--yes"), ("migrate",)):
        assert "read-only" in shell.ours(*words, code=78)


def test_no_word_that_the_server_has_for_itself_is_the_name_of_a_schema() -> None:
    """It would be a syntax error in each statement."""
    there = new_database(with_outbox=False)
    words = [word for (word,) in there.ask("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")]
    assert len(words) > 90
    for word in (*words, "information_schema"):
        with pytest.raises(ValueError, match="PostgreSQL's own"):
            check_schema(word)
