"""The page on chats: its first command, with a receiver's URL in place of Slack's, posts what Slack takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from ..conftest import Receiver
from ..support.chats import CHECKS
from ..support.service import Service

PAGE = (Path(__file__).parents[2] / "docs" / "chat.md").read_text(encoding="utf-8")
COMMANDS = re.findall(
    r"^almirant-webhooks (webhook create .*'work_item\.\*' --template ([a-z-]+) .*--url )(\S+)$", PAGE, re.MULTILINE
)

COMMAND = Path(sys.executable).with_name("almirant-webhooks")


@pytest.mark.long
async def test_the_commands_of_the_page_post_what_each_chat_takes(
    service: Service, receiver: Receiver, tmp_path: Path
) -> None:
    """A receiver that answers 400 to what is not of its chat's shape gets each event once, and all of them succeed."""
    assert [name for _, name, _ in COMMANDS] == list(CHECKS)

    async def answer(request: web.Request) -> web.Response:
        try:
            CHECKS[request.path.strip("/")](json.loads(await request.text()))
        except (AssertionError, KeyError, ValueError) as error:
            return web.Response(status=400, text=f"invalid_payload: {error!r}")
        return web.Response(text="ok")

    receiver.answer = answer
    service.migrate()
    config = tmp_path / "config.toml"
    config.write_text(f'[database]\npath = "{service.database}"\n\n[egress]\nallow_localhost = true\n')
    for told, name, _ in COMMANDS:
        words = re.sub(r"--rate-limit \S+ ", "", told)  # the test would wait for it
        line = f"{COMMAND} {words}{receiver.url.replace('/in', f'/{name}')} --config {config}"
        subprocess.run(["sh", "-c", line], check=True, capture_output=True)
    await service.start(migrating=False)
    kinds = ("work_item.created", "work_item.updated", "work_item.moved", "work_item.archived")
    for kind in kinds:
        service.insert(
            {"workItem": {"key": "SHOP-1", "title": "<!channel> & *all*"}, "from": "a", "to": "b"}, kind=kind
        )
    await service.until(lambda: sum(row["state"] == "succeeded" for row in service.log()) == len(kinds) * len(CHECKS))
    assert len(receiver.requests) == len(kinds) * len(CHECKS)
