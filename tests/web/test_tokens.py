"""API tokens of a project: for what its admin may do, in that project alone, until they are revoked."""

from __future__ import annotations

import json
import re
from contextlib import closing

from almirant_webhooks.storage.engine import MOST_TOKENS

from ..conftest import Receiver
from ..support.shell import Shell
from .test_api import Api, api
from .test_pages import Pages, pages

__all__ = ["api", "pages"]


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _make(api: Api, project: str, name: str) -> dict[str, str]:
    status, made = await api.call("POST", "/api/v1/tokens", None, {"project_id": project, "name": name})
    assert status == 201
    token: dict[str, str] = made
    return token


async def test_a_token_does_what_the_projects_admin_may_and_another_project_is_not_there(
    api: Api, receiver: Receiver
) -> None:
    """It lists and makes what is of its project; things of others are 404; the audit trail has its name."""
    other = api.service.webhook(receiver.url, project="proj_2")
    made = await _make(api, "proj_1", "deploy")
    caller = _bearer(made["token"])
    assert await api.call("GET", "/api/v1/whoami", caller) == (200, {"role": "project admin", "project_id": "proj_1"})
    status, webhook = await api.call("POST", "/api/v1/webhooks", caller, {"url": receiver.url, "events": ["*"]})
    assert (status, webhook["project_id"]) == (201, "proj_1")
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/secret")):
        body = {"description": "x"} if method == "PATCH" else {}
        status, problem = await api.call(method, f"/api/v1/webhooks/{other.id}{path}", caller, body)
        assert (status, problem["code"]) == (404, "not_found"), path
    for path in ("/webhooks?project=proj_2", "/tokens?project=proj_2", "/audit?project=proj_2"):
        assert (await api.call("GET", f"/api/v1{path}", caller))[0] == 404, path
    status, _ = await api.call(
        "POST", "/api/v1/events", caller, {"event_type": "lead.created", "payload": {}, "project_id": "proj_1"}
    )
    assert status == 403  # a producer's part, as for the admin
    assert (await api.call("POST", "/api/v1/portal-links", caller, {"project_id": "proj_1"}))[0] == 403
    entries = (await api.call("GET", "/api/v1/audit", caller))[1]["items"]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        ("webhook.created", "deploy (API token)"),
        ("project_token.created", "operator"),
    ]


async def test_a_revoked_token_is_401_at_once_and_its_project_alone_can_revoke_it(api: Api) -> None:
    """Also right after it was taken; nobody else of another project even learns that it is there."""
    made = await _make(api, "proj_1", "deploy")
    assert (await api.call("GET", "/api/v1/webhooks", _bearer(made["token"])))[0] == 200
    path = f"/api/v1/tokens/{made['id']}"
    for stranger in (api.admin("proj_2"), _bearer((await _make(api, "proj_2", "deploy"))["token"])):
        assert (await api.call("DELETE", path, stranger))[1]["detail"] == f"There is no API token {made['id']}."
    assert (await api.call("DELETE", path, api.producer("proj_1")))[0] == 403
    assert await api.call("DELETE", path, api.admin("proj_1")) == (204, None)
    assert (await api.call("GET", "/api/v1/webhooks", _bearer(made["token"])))[0] == 401
    assert (await api.call("DELETE", path, api.admin("proj_1")))[0] == 404
    assert (await api.call("GET", "/api/v1/tokens?project=proj_1"))[1]["items"] == []


async def test_what_is_kept_of_a_token_is_a_digest_and_a_list_never_shows_it(api: Api) -> None:
    """Neither the file nor an answer after the first has it."""
    made = await _make(api, "proj_1", "deploy")
    (row,) = (await api.call("GET", "/api/v1/tokens"))[1]["items"]
    assert row == {name: made[name] for name in ("id", "project_id", "name", "created_at", "created_by")}
    assert made["token"] not in api.service.dump()


async def test_a_token_makes_no_other_token_and_names_are_taken_once(api: Api) -> None:
    """What is revoked would live on in another one; a name is one token's in its project."""
    made = await _make(api, "proj_1", "deploy")
    status, problem = await api.call("POST", "/api/v1/tokens", _bearer(made["token"]), {"name": "second"})
    assert (status, "makes no further tokens" in problem["detail"]) == (409, True)
    status, problem = await api.call("POST", "/api/v1/tokens", api.admin("proj_1"), {"name": "deploy"})
    assert (status, problem["field"]) == (409, "name")
    for name in ("", "two words", "a" * 65, "é", "x\n", "<b>"):
        status, problem = await api.call("POST", "/api/v1/tokens", api.admin("proj_1"), {"name": name})
        assert (status, problem["field"]) == (422, "name"), name
    status, problem = await api.call("POST", "/api/v1/tokens", None, {"name": "nobody's"})
    assert (status, problem["field"]) == (422, "project_id")
    assert (await api.call("POST", "/api/v1/tokens", api.admin("proj_2"), {"project_id": "proj_1"}))[0] == 404


async def test_a_project_has_a_bounded_number_of_tokens(api: Api) -> None:
    """As listing them all is one page."""
    with closing(api.service.producer()) as conn, conn:
        conn.executemany(
            "INSERT INTO project_tokens VALUES (?, ?, 'proj_1', ?, '2026-01-01T00:00:00.000Z', 'operator')",
            [(f"ptk_{number:03}", f"d{number}", f"t{number}") for number in range(MOST_TOKENS)],
        )
    status, problem = await api.call("POST", "/api/v1/tokens", api.admin("proj_1"), {})
    assert (status, "100 API tokens" in problem["detail"]) == (409, True)
    first = (await api.call("GET", "/api/v1/tokens?limit=60"))[1]
    rest = (await api.call("GET", f"/api/v1/tokens?limit=60&cursor={first['next_cursor']}"))[1]
    assert len({row["id"] for row in first["items"] + rest["items"]}) == MOST_TOKENS
    assert rest["next_cursor"] is None


async def test_the_page_makes_shows_once_and_revokes(pages: Pages) -> None:
    """For a project's admin: the token itself is on the page that follows its making, and on no other."""
    status, _, text = await pages.post("/tokens", name="ci-server")
    token = re.findall(r"awa_[\w-]+", text)
    assert (status, len(set(token))) == (200, 1)
    async with pages.client.get("/api/v1/whoami", headers=_bearer(token[0])) as answer:
        assert (await answer.json())["project_id"] == "proj_1"
    listed = await pages.get("/tokens")
    assert "ci-server" in listed
    assert token[0] not in listed
    assert re.findall(r'action="/tokens/[^"]*"', listed) == [], "one click would revoke it"
    (action,) = re.findall(r'href="(/tokens/ptk_\w+/revoke)"', listed)
    asked = await pages.get(action)
    assert ("Revoke the token ci-server" in asked, f'action="{action}"' in asked) == (True, True)
    await pages.get(action, "proj_2", 404)
    assert "ci-server" in await pages.get("/tokens"), "asking changes nothing"
    assert "ci-server" not in await pages.get("/tokens", "proj_2")
    assert (await pages.post(action, "proj_2"))[0] == 404
    status, _, text = await pages.post("/tokens", name="<b>x</b>")
    assert (status, 'id="name-error"' in text, "<b>x" in text) == (422, True, False)
    assert (await pages.post(action))[:2] == (303, "/tokens?done=revoked")
    async with pages.client.get("/api/v1/whoami", headers=_bearer(token[0])) as answer:
        assert answer.status == 401


def test_the_command_makes_lists_and_revokes_by_name(shell: Shell) -> None:
    """A name that is taken, or that nobody has, is told; so is a mix of what cannot go together."""

    def listed(project: str) -> list[str]:
        return [row["name"] for row in json.loads(shell.ours("token", "--project", project, "--list", "--json"))]

    assert shell.ours("token", "--project", "proj_1", "--name", "deploy").startswith("awa_")
    assert (listed("proj_1"), listed("proj_2")) == (["deploy"], [])
    assert "deploy already" in shell.ours("token", "--project", "proj_1", "--name", "deploy", code=1)
    revoke = ("--revoke", "deploy", "--yes")
    assert "no API token named deploy" in shell.ours("token", "--project", "proj_2", *revoke, code=1)
    shell.ours("token", "--project", "proj_1", *revoke)
    assert listed("proj_1") == []
    for words in (
        ("--list",),
        ("--name", "x"),
        ("--project", "p", "--rotate"),
        ("--project", "p", "--list", "--name", "x"),
    ):
        shell.ours("token", *words, code=2)
