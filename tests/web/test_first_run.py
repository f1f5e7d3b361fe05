"""From an empty list to the first delivery: what the pages show of events, secrets, checks and tests on the way."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from almirant_webhooks.rules import event_schemas
from almirant_webhooks.rules.event_types import CATALOGUE
from almirant_webhooks.rules.signing import signature
from almirant_webhooks.web.pages.verifiers import verifiers

from ..conftest import Receiver
from ..support import needs
from ..support.service import SECRET
from .test_pages import Pages, pages
from .test_webhook_pages import words_of

__all__ = ["pages"]


async def test_a_new_webhook_leads_on_and_shows_no_empty_chart(pages: Pages, receiver: Receiver) -> None:
    """Verifiers, a test and what comes next; once an event was sent, how the attempts go."""
    webhook = pages.service.webhook(receiver.url)
    page = await pages.get(f"/webhooks/{webhook.id}")
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["1. Have the receiver verify what comes", "2. Send a test event", "3. What comes next"]
    assert '<svg class="strip' not in page
    pages.service.insert()
    await pages.service.until(lambda: pages.service.log(state="succeeded"))
    page = await pages.get(f"/webhooks/{webhook.id}")
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page)[0] == "Attempts"
    assert '<svg class="strip' in page
    assert [verifier.code for verifier in verifiers() if verifier.code not in html.unescape(page)] == []


async def test_who_connects_a_chat_has_nothing_to_do_with_the_secret(pages: Pages) -> None:
    """Slack looks at no signature: the page asked for the secret to be put into it, and for a function to be pasted."""
    form = {"url": "https://hooks.slack.com/services/T/B/x", "events": "*", "ready_template": "slack"}
    _, place, _ = await pages.post("/webhooks", **form)
    page = await pages.get(place)
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["Its secret", "1. Send a test event", "2. What comes next"]
    assert "Slack asks for none: leave it here." in words_of(page)
    assert "WEBHOOK_SECRET" not in page


async def test_the_result_of_a_test_is_shown_where_it_was_asked_for(pages: Pages, receiver: Receiver) -> None:
    """With the receiver's answer, and a hint where it refuses; of a test of this webhook alone."""
    service = pages.service
    webhook, other = service.webhook(receiver.url), service.webhook(receiver.url)
    path = f"/webhooks/{webhook.id}"
    for status, words in ((200, "Delivered: "), (401, "answered 401: thanks")):
        receiver.status = status
        code, place, _ = await pages.post(f"{path}/test", event_type="work_item.created", back=path)
        assert (code, place.partition("#")[2]) == (303, "test-title")
        delivery = re.findall(r"\?test=(dlv_\w+)", place)[0]
        await service.until(lambda: service.log()[0]["attempts"] == 1)
        page = words_of(await pages.get(place.partition("#")[0]))
        assert words in page
        assert "thanks" in page
        assert ("a signature that does not fit" in page) is (status == 401)
        assert "A resend" not in page
        for hostile in (f"/webhooks/{other.id}?test={delivery}", f"{path}?test=dlv_none", f"{path}?test=%22%3E"):
            assert words not in words_of(await pages.get(hostile))
    service.insert()
    await service.until(lambda: service.log()[0]["event_type"] == "work_item.created" and not service.log()[0]["test"])
    assert "outcome-card" not in await pages.get(f"{path}?test={service.log()[0]['delivery_id']}")


async def test_a_test_leads_to_no_other_site(pages: Pages, receiver: Receiver) -> None:
    """The page to go back to is a path of ours."""
    webhook = pages.service.webhook(receiver.url)
    _, place, _ = await pages.post(f"/webhooks/{webhook.id}/test", event_type="lead.created", back="//evil.example")
    assert place.startswith("/deliveries/dlv_")


async def test_the_form_and_the_catalogue_say_in_words_what_each_type_tells(pages: Pages) -> None:
    """The customer's page's own sentences, with a sample to open; the catalogue page has a schema that is JSON as well."""
    form = html.unescape(await pages.get("/webhooks/new"))
    catalogue = html.unescape(await pages.get("/event-types"))
    for kind in CATALOGUE:
        assert event_schemas.meaning(kind) in form
        assert f'aria-label="Sample of {kind}">{event_schemas.sample_text(kind)}</pre>' in form
        assert event_schemas.meaning(kind) in catalogue
        shown: dict[str, Any] = {
            what: json.loads(re.findall(rf'id="{what}-{re.escape(kind)}"[^>]*>(.*?)</pre>', catalogue, re.DOTALL)[0])
            for what in ("sample", "schema")
        }
        assert shown["sample"] == event_schemas.sample_body(kind)
        assert shown["schema"]["properties"]["type"] == {"const": kind}


async def test_the_catalogue_shows_operators_what_a_project_can_subscribe_to(pages: Pages) -> None:
    """Of operators' own project its four types; a parameter that the page does not have is refused."""
    assert "webhook.failing" in await pages.get("/event-types?project=almirant", project=None)
    assert 'id="lead.created"' not in await pages.get("/event-types?project=almirant", project=None)
    await pages.get("/event-types?typ=x", status=422)


BODY = '{"id": "evt_1", "data": {"name": "Fjord & Søn"}}'.encode()
GOOD = signature(BODY, SECRET)
SIGNATURES = (GOOD, GOOD[:-1] + ("0" if GOOD[-1] != "0" else "1"), GOOD.upper(), "", "ñ")
EXPECTED = [True, False, False, False, False]


def test_the_verifier_in_python_accepts_our_signature_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that is missing, cut, of another case, or no ASCII is refused and never an error."""
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    names: dict[str, Any] = {}
    exec(verifiers()[0].code, names)
    assert [names["is_from_almirant"](BODY, each) for each in SIGNATURES] == EXPECTED
    assert names["is_from_almirant"](BODY, None) is False
    assert names["is_from_almirant"](BODY, "\udcff") is False
    assert names["is_from_almirant"](BODY + b" ", GOOD) is False
    monkeypatch.setenv("WEBHOOK_SECRET", "")
    assert names["is_from_almirant"](BODY, signature(BODY, "")) is False


_NODE = """
import {{ isFromAlmirant }} from "./verifier.mjs";
console.log(JSON.stringify({signatures}.map((each) => isFromAlmirant(Buffer.from({body}), each))));
"""
_PHP = """<?php
require 'verifier.php';
echo json_encode(array_map(fn ($each) => is_from_almirant(json_decode({body}), $each), json_decode({signatures})));
"""
_GO = """package webhooks

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestAll(t *testing.T) {{
	found := []bool{{}}
	for _, each := range []string{signatures} {{
		found = append(found, IsFromAlmirant([]byte({body}), each))
	}}
	text, _ := json.Marshal(found)
	fmt.Println(string(text))
}}
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["node", "php", "go"])
def test_the_verifiers_in_other_languages_accept_our_signature_alone(name: str, tmp_path: Path) -> None:
    """The same as in Python, run by the language itself."""
    program = needs.program({"node": "node", "php": "php", "go": "go"}[name])
    code = next(verifier.code for verifier in verifiers() if verifier.name == name)
    body, signatures = json.dumps(BODY.decode()), json.dumps(SIGNATURES)
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "GO111MODULE": "off"}
    if name == "node":
        (tmp_path / "verifier.mjs").write_text(code)
        (tmp_path / "all.mjs").write_text(_NODE.format(body=body, signatures=signatures))
        command = [program, "all.mjs"]
    elif name == "php":
        (tmp_path / "verifier.php").write_text(code)
        (tmp_path / "all.php").write_text(_PHP.format(body=repr(body), signatures=repr(signatures)))
        command = [program, "all.php"]
    else:
        (tmp_path / "verifier.go").write_text(code)
        listed = "{" + ", ".join(json.dumps(each) for each in SIGNATURES) + "}"
        (tmp_path / "all_test.go").write_text(_GO.format(body=body, signatures=listed))
        command = [program, "test", "-vet=off", "-v", "verifier.go", "all_test.go"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert json.loads(line) == EXPECTED
