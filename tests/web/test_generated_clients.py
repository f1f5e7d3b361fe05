"""Programs that make clients from `/openapi.json` understand all of it, and what they make works."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import venv
from pathlib import Path

import aiohttp
import pytest

from almirant_webhooks.web.api import ROUTES, openapi

from ..conftest import Receiver
from ..support import needs
from ..support.service import Service

TYPESCRIPT = Path(__file__).parent / "typescript"
GENERATOR = "openapi-python-client==0.29.1"
USES = """
import sys
from almirant_api import AuthenticatedClient
from almirant_api.api.deliveries import list_deliveries
from almirant_api.api.webhooks import create_webhook, list_webhooks
from almirant_api.models import CreateWebhookBody, Problem
address, token, url = sys.argv[1:]
with AuthenticatedClient(base_url=address, token=token) as client:
    made = create_webhook.sync(client=client, body=CreateWebhookBody(project_id="proj_2", url=url, events=["lead.*"]))
    assert made.secret.startswith("whsec_"), made
    page = list_webhooks.sync(client=client, project="proj_2")
    assert [(webhook.id, webhook.events) for webhook in page.items] == [(made.id, ["lead.*"])], page
    assert [row.event_type for row in list_deliveries.sync(client=client).items] == ["work_item.created"]
    refused = create_webhook.sync(client=client, body=CreateWebhookBody(project_id="proj_2", url="x", events=["*"]))
    assert isinstance(refused, Problem) and refused.field == "url" and refused.code == "invalid_field", refused
"""


def _run(*words: str | Path, cwd: Path) -> str:
    ran = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    return ran.stdout + ran.stderr


@pytest.mark.slow
async def test_a_python_client_is_generated_whole_and_works(
    service: Service, receiver: Receiver, tmp_path: Path
) -> None:
    """By openapi-python-client: it warns of nothing that it left out, and creates, lists and is refused by name."""
    address = await service.serve()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    async with aiohttp.ClientSession() as client, client.get(f"{address}/openapi.json") as answer:
        (tmp_path / "openapi.json").write_text(await answer.text())

    def generate_and_use() -> None:
        venv.create(tmp_path / "venv", with_pip=True)
        python = tmp_path / "venv" / "bin" / "python"
        _run(python, "-m", "pip", "install", "--quiet", GENERATOR, "ruff", cwd=tmp_path)
        (tmp_path / "config.yml").write_text("post_hooks: []\n")
        words = ["generate", "--path", "openapi.json", "--meta", "none", "--output-path", "almirant_api"]
        said = _run(
            python.with_name("openapi-python-client"),
            *words,
            "--fail-on-warning",
            "--config",
            "config.yml",
            cwd=tmp_path,
        )
        assert "arning" not in said
        (tmp_path / "uses.py").write_text(USES)
        _run(python, "uses.py", address, service.keys().token, receiver.url, cwd=tmp_path)

    await asyncio.to_thread(generate_and_use)


@pytest.mark.slow
def test_types_for_typescript_are_generated_and_compile(tmp_path: Path) -> None:
    """By openapi-typescript; a program that uses them compiles, and one that reads what is not there does not."""
    npm, npx = needs.program("npm"), needs.program("npx")
    folder = tmp_path / "typescript"
    shutil.copytree(TYPESCRIPT, folder)
    (folder / "openapi.json").write_text(json.dumps(openapi.describe(ROUTES)))
    _run(npm, "ci", "--no-audit", "--no-fund", "--silent", cwd=folder)
    _run(npx, "openapi-typescript", "openapi.json", "-o", "types.ts", cwd=folder)
    compiling = [npx, "tsc", "--noEmit", "--strict", "uses.ts"]
    _run(*compiling, cwd=folder)
    text = (folder / "uses.ts").read_text()
    (folder / "uses.ts").write_text(text.replace("attempt.status_code", "attempt.code"))
    refused = subprocess.run(compiling, cwd=folder, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "Property 'code' does not exist" in refused.stdout
