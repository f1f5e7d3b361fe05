"""The page on moving over: its commands, as they stand, with the sample exports beside it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from almirant_webhooks.rules.imports import SOURCES, Choices
from almirant_webhooks.rules.imports.document import Node, read

from ..support import needs
from ..support.shell import Shell

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "moving.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"<!-- moving -->\n +```sh\n(.*?)```|<!-- moving -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in "".join(block).splitlines()
    if line.strip()
]


def test_the_page_s_commands_make_webhooks_of_the_samples(shell: Shell) -> None:
    """First nothing, then all but what the page says is refused; the samples are the files that it links to."""
    for name in ("svix", "convoy", "outpost"):
        shutil.copy(DOCS / "moving" / f"{name}.json", shell.folder)
    assert [words[1:3] for words in COMMANDS] == [
        ["svix", "svix.json"],
        ["svix", "svix.json"],
        ["convoy", "convoy.json"],
        ["outpost", "outpost.json"],
    ]
    look, svix, convoy, outpost = COMMANDS
    shown = shell.ours(*look)
    assert "events.extra_types" not in shown
    assert "Has no equal here:\n  svix:ep_1srOrx2ZWZBpBUvZwXKQmoEYga4: Its metadata." in shown
    assert json.loads(shell.ours("webhook", "list", "--json")) == []
    assert "$.applications[0].endpoints[2]: This URL cannot be used" in shell.ours(*svix, code=1)
    shell.ours(*convoy)
    shell.ours(*outpost)
    made = {webhook["url"]: webhook for webhook in json.loads(shell.ours("webhook", "list", "--json"))}
    assert {url: (webhook["project_id"], webhook["enabled"]) for url, webhook in made.items()} == {
        "https://board.example.com/hooks/items": ("proj_1", False),
        "https://crm.example.com/in": ("proj_1", False),
        "https://reports.example.com/in": ("proj_1", False),
        "https://board.example.com/convoy": ("proj_1", True),
        "https://crm.example.com/convoy": ("proj_2", False),
        "https://crm.example.com/outpost": ("proj_1", True),
    }
    assert made["https://board.example.com/hooks/items"]["rate_limit"] == "20/s"
    assert made["https://crm.example.com/in"]["events"] == ["lead.created", "lead.updated"]
    assert made["https://board.example.com/convoy"]["rate_limit"] == "300/m"
    assert made["https://board.example.com/convoy"]["filter"] == [
        {"field": "data.workItem.priority", "op": "in", "value": ["high", "urgent"]}
    ]
    assert made["https://crm.example.com/outpost"]["filter"] == [
        {"field": "data.lead.value", "op": ">=", "value": 1000},
        {"field": "data.lead.currency", "op": "=", "value": "EUR"},
    ]
    assert set(made["https://crm.example.com/outpost"]["headers"]) == {"x-api-key", "x-outpost-region"}


def _without(thing: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if name not in names}


def _answers(samples: dict[str, Any]) -> dict[str, Any]:
    """Return what the APIs of the three would answer, by path, to get the samples from them."""
    apps, page = samples["svix"]["applications"], {"iterator": None, "done": True}
    answers: dict[str, Any] = {
        "app": {"data": [_without(app, "endpoints") for app in apps], **page},
        "event-type": samples["svix"]["eventTypes"],
        "projects/P": samples["convoy"]["project"],
        "projects/P/endpoints": samples["convoy"]["endpoints"],
        "projects/P/subscriptions": samples["convoy"]["subscriptions"],
        "topics": samples["outpost"]["topics"],
        "tenants": {"models": [_without(tenant, "destinations") for tenant in samples["outpost"]["tenants"]]},
    }
    for app in apps:
        path = f"app/{app['id']}"
        answers[path] = _without(app, "endpoints")
        answers[f"{path}/endpoint"] = {"data": [_without(row, "secret", "headers") for row in app["endpoints"]], **page}
        for row in app["endpoints"]:
            answers[f"{path}/endpoint/{row['id']}"] = _without(row, "secret", "headers")
            answers[f"{path}/endpoint/{row['id']}/secret"] = row["secret"]
            answers[f"{path}/endpoint/{row['id']}/headers"] = row.get("headers", {"headers": {}, "sensitive": []})
    for row in samples["convoy"]["subscriptions"]["data"]["content"]:
        path = f"projects/P/subscriptions/{row['uid']}"
        answers[path] = {"status": True, "message": "", "data": _without(row, "filters")}
        answers[f"{path}/filters"] = row["filters"]
    for tenant in samples["outpost"]["tenants"]:
        answers[f"tenants/{tenant['id']}/destinations"] = tenant["destinations"]
    return answers


@pytest.mark.slow
def test_the_page_s_scripts_put_together_files_that_are_read_as_the_samples_are(shell: Shell) -> None:
    """Each against a server that answers as the APIs do, and only to who has the key."""
    for program in ("jq", "curl"):
        needs.program(program)
    samples = {name: json.loads((DOCS / "moving" / f"{name}.json").read_text()) for name in SOURCES}
    answers = _answers(samples)

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path.removeprefix("/api/v1/")
            found = path in answers and self.headers["Authorization"] == "Bearer a-key"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(json.dumps(answers.get(path)).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    scripts = [
        block for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "get() {" in block
    ]
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        places = {
            "SVIX": address,
            "CONVOY": address,
            "OUTPOST": address,
            "PROJECT": "P",
            "TOKEN": "a-key",
            "KEY": "a-key",
        }
        for script in scripts:
            subprocess.run(
                ["bash", "-e", "-o", "pipefail"], input=script, text=True, check=True, cwd=shell.folder, timeout=60,
                env={**os.environ, **places},
            )  # fmt: skip
        server.shutdown()
        thread.join()
    assert len(scripts) == len(SOURCES)
    for name, plan in SOURCES.items():
        made = plan(read((shell.folder / f"{name}.json").read_bytes()), Choices())
        expected = plan(Node(samples[name]), Choices())
        assert [replace(planned, place="") for planned in made.webhooks] == [
            replace(planned, place="") for planned in expected.webhooks
        ]
        assert made.event_types == expected.event_types


def test_it_is_read_from_the_releases_that_the_comparison_is_about() -> None:
    """Each line of that page is below the release that it was read from."""
    read_from = dict(re.findall(r"(Svix|Convoy|Outpost) `([\w.-]+)`", PAGE.partition("(Svix's server")[0]))
    assert len(read_from) == len(SOURCES)
    page = (DOCS / "compare.md").read_text(encoding="utf-8")
    headings = [table.splitlines()[0] for table in page.split("\n\n") if table.startswith("|")]
    assert len(headings) == 3
    for heading in headings:
        assert dict(re.findall(r"(Svix|Convoy|Outpost) `([\w.-]+)`", heading)) == read_from
        assert re.search(r"Hook0 `[^`]+`", heading)
