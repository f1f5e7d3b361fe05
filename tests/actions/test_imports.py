"""Webhooks that are made of what another service has: once, as they are looked at before, and signed as receivers expect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks import clock
from almirant_webhooks.actions import imports
from almirant_webhooks.actions.imports import Report, Verdict, Wanted
from almirant_webhooks.cli.run_action import CommandDatabase, caller, run_action
from almirant_webhooks.rules.imports import SOURCES, Choices
from almirant_webhooks.rules.imports.document import Node
from almirant_webhooks.storage.sql import audit, webhooks
from almirant_webhooks.verify import verify_standard

from ..conftest import Receiver
from ..support.service import SECRET, Service
from ..support.shell import Shell

SAMPLES = Path(__file__).parents[2] / "docs" / "moving"

_CHOICES, _WANTED = Choices(), Wanted()


def _endpoint(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"ep_{number}", "url": f"https://example.com/{number}", "secret": {"key": SECRET}, **fields}


def _report(
    service: Service,
    source: str,
    content: Any,
    choices: Choices = _CHOICES,
    wanted: Wanted = _WANTED,
    *,
    apply: bool = True,
) -> Report:
    plan, database, settings = (
        SOURCES[source](Node(content), choices),
        CommandDatabase(service.settings()),
        service.settings(),
    )
    if not apply:
        return run_action(imports.look(database, caller(), plan, wanted, settings=settings))
    return run_action(imports.apply(database, caller(), plan, wanted, settings=settings, now=clock.now()))


@pytest.mark.parametrize("source", SOURCES)
def test_a_second_run_makes_nothing_twice(service: Service, source: str) -> None:
    """It says what is there already, and leaves that as somebody has changed it since."""
    service.migrate()
    content = json.loads((SAMPLES / f"{source}.json").read_text())
    first = _report(service, source, content)
    made = [row for row in first.rows if row.verdict is Verdict.CREATE]
    assert made
    assert made[0].webhook_id is not None
    service.write(webhooks.update, made[0].webhook_id, url="https://example.com/changed", now=clock.now())
    entries = service.read(audit.entries, limit=1000)
    second = _report(service, source, content)
    assert {row.verdict for row in second.rows} <= {Verdict.EXISTS, Verdict.REFUSED, Verdict.SKIPPED}
    assert [row.webhook_id for row in second.rows if row.verdict is Verdict.EXISTS] == [row.webhook_id for row in made]
    assert service.read(audit.entries, limit=1000) == entries
    assert service.read(webhooks.get, made[0].webhook_id).url == "https://example.com/changed"
    service.write(webhooks.delete, made[0].webhook_id, clock.now())
    assert [row.origin for row in _report(service, source, content).rows if row.verdict is Verdict.CREATE] == [
        made[0].origin
    ]


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_shown_first_is_what_is_done(service: Service, source: str) -> None:
    """Row by row, but for the new ids; and looking writes nothing, not even into the audit trail."""
    service.migrate()
    content = json.loads((SAMPLES / f"{source}.json").read_text())
    shown = _report(service, source, content, apply=False)
    assert service.read(audit.entries, limit=1000) == []
    assert service.read(webhooks.find) == []
    done = _report(service, source, content)
    assert [row._replace(webhook_id=None) for row in done.rows] == shown.rows


def test_what_would_reach_its_receiver_otherwise_is_made_disabled(service: Service) -> None:
    """In the transaction that makes it, and the audit trail says why, and where it is from."""
    service.migrate()
    (row,) = _report(service, "svix", [_endpoint(1, channels=["a"])], Choices("proj_1")).rows
    assert row.webhook_id is not None
    assert not service.read(webhooks.get, row.webhook_id).enabled
    entries = [(entry["action"], entry["detail"]) for entry in service.read(audit.entries)]
    assert entries == [("webhook.disabled", row.reasons[0]), ("webhook.imported", "svix:ep_1"), ("webhook.created", "")]


def test_one_that_is_refused_stops_none_of_the_others(service: Service) -> None:
    """Each refusal has its reason: the URL policy, the secret, the options, the project's limit."""
    service.options["limits"] = {"webhooks_per_project": 3}
    service.migrate()
    good = [_endpoint(number) for number in range(4)]
    bad = [
        _endpoint(10, url="https://10.0.0.1/"),
        _endpoint(11, secret={"key": "whsec_short"}),
        _endpoint(12, secret={"key": "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="}),
        _endpoint(13, secret=None),
        _endpoint(14, headers={"headers": {"Host": "x"}, "sensitive": []}),
        _endpoint(15, headers={"X-Key": "(masked)"}),
        _endpoint(16, eventTypes=["no.such"]),
        _endpoint(17, url="https://exa mple.com/"),
        _endpoint(18, url="https://ada:the-password@example.com/"),
        _endpoint(19, url="https://ada:the/pass?wo#rd@example.com/"),
        _endpoint(20, url="https://ada:the@pazz/wo#rd@example.com/"),
        _endpoint(22, url="https://[ada]:the-password@example.com/"),
        _endpoint(21, url="https://[2001:db8::1]/in?mail=ada@example.com"),
    ]
    report = _report(service, "svix", [*bad, *good], Choices("proj_1"))
    refused = {row.origin: row.reasons for row in report.rows if row.verdict is Verdict.REFUSED}
    assert list(refused) == [*(f"svix:ep_{number}" for number in (*range(10, 21), 22, 21)), "svix:ep_3"]
    for number, words in ((10, "the address is not allowed"), (11, "16 to 256 bytes"), (12, "ed25519"), (13, "no secret of it"), (14, "Host"), (15, "(masked)"), (16, "'no.such' fits no event type"), (18, "user or password"), (3, "Project proj_1 has 3 webhooks, and a project may have 3.")):  # fmt: skip
        assert words in " ".join(refused[f"svix:ep_{number}"]), number
    assert len(service.read(webhooks.find)) == 3
    assert report.extra_types == ["no.such"]
    assert "short" not in str(refused)
    assert "[2001:db8::1]/in?mail=ada@example.com" in str(report)
    assert not re.search("the-password|the/|the@|pazz|wo#|rd@", str(report))


def test_new_secrets_are_given_only_if_asked_for(service: Service) -> None:
    """To those that have none that can be kept; the others keep theirs."""
    service.migrate()
    content = [_endpoint(1, secret=None), _endpoint(2, secret={"key": "whpk_x"}), _endpoint(3)]
    report = _report(service, "svix", content, Choices("proj_1"), Wanted(new_secrets=True, disabled=True))
    assert [row.verdict for row in report.rows] == [Verdict.CREATE] * 3
    assert [imports._HOW_TO_SEE_IT in row.receiver for row in report.rows] == [True, True, False]
    assert not any(webhook.enabled for webhook in service.read(webhooks.find))


@pytest.mark.long
async def test_receivers_verify_what_they_get_with_the_secret_that_they_have(
    service: Service, receiver: Receiver
) -> None:
    """Svix's and Standard Webhooks' way, Convoy's simple and Outpost's own way; the body is the payload, as it was there."""
    service.migrate()
    content = {name: json.loads((SAMPLES / f"{name}.json").read_text()) for name in SOURCES}
    svix = content["svix"]["applications"][0]["endpoints"][0]
    convoy = content["convoy"]["endpoints"]["data"]["content"][0]
    outpost = content["outpost"]["tenants"][0]["destinations"][0]
    svix["url"], convoy["url"] = f"{receiver.url}/svix", f"{receiver.url}/convoy"
    outpost["config"]["url"], outpost["topics"], outpost["filter"] = f"{receiver.url}/outpost", "*", None
    for name in SOURCES:
        _report(service, name, content[name])
    await service.start(migrating=False)
    payload = {"workItem": {"id": "wi_1", "priority": "urgent"}, "by": "Inés"}
    service.insert(payload, kind="work_item.created")
    await service.until(lambda: len(receiver.requests) == 3)
    sent = {request.path.rpartition("/")[2]: request for request in receiver.requests}
    assert {json.dumps(json.loads(request.body)) for request in sent.values()} == {json.dumps(payload)}

    headers = {name.lower(): value for name, value in sent["svix"].headers.items()}
    key = base64.b64decode(svix["secret"]["key"].removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + sent["svix"].body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert headers["x-team"] == "shop"

    for name, secret in (("convoy", convoy["secrets"][-1]["value"]), ("outpost", outpost["credentials"]["secret"])):
        expected = hmac.new(secret.encode(), sent[name].body, hashlib.sha256).hexdigest()
        assert {key.lower(): value for key, value in sent[name].headers.items()}["x-almirant-signature"] == expected
    assert verify_standard(sent["outpost"].body, sent["outpost"].headers, outpost["credentials"]["secret"])
    assert {name.lower(): value for name, value in sent["convoy"].headers.items()}["x-api-key"] == "a-key-of-the-guide"


def test_the_command_shows_does_and_refuses(shell: Shell) -> None:
    """`--yes` alone writes; it reads a file or standard input; exit 1 where anything was refused, 2 for contradictions."""
    content = json.dumps([_endpoint(1, throttleRate=70_000, url="https://exa\u202emple.com:x/"), _endpoint(2)])
    (shell.folder / "svix.json").write_text(content)
    told = ("import", "svix", "svix.json", "--project", "proj_1")
    assert "\u202e" not in shell.ours(*told)
    assert json.loads(shell.ours("webhook", "list", "--json")) == []
    shell.ours(*told, "--yes", code=1)
    printed = json.loads(shell.ours("import", "svix", "-", "--project", "proj_1", "--json", given=content))
    assert printed["done"] is False
    assert [row["verdict"] for row in printed["webhooks"]] == ["refused", "exists"]
    assert SECRET not in json.dumps(printed)
    assert "not both" in shell.ours(*told, "--yes", "--dry-run", code=2)
    assert "OLD=NEW" in shell.ours(*told, "--rename", "a", code=2)
    assert "none.json cannot be read" in shell.ours("import", "svix", "none.json", code=1)
    assert "say --project" in shell.ours("import", "svix", "svix.json", code=1)
