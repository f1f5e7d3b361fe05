"""`almirant_webhooks.client` has each operation of the API, with what it takes and answers, on the standard library alone."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from almirant_webhooks import model
from almirant_webhooks.client import ApiError, Client, types
from almirant_webhooks.web.api import ROUTES, openapi
from almirant_webhooks.web.api.routes import Route

from ..conftest import Receiver
from ..support.service import Service

# Followed by the lists themselves, or a method of its own (`dry_run`).
LEFT_OUT = {"limit", "cursor", "count", "dry_run"}
# Operations whose count is a method of its own.
COUNTED: dict[str, Callable[..., Any]] = {"createResend": Client.count_resend, "replayEvents": Client.count_replay}


def _method(route: Route) -> Callable[..., Any]:
    method: Callable[..., Any] = getattr(Client, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", route.name).lower())
    return method


def _takes(method: Callable[..., Any]) -> set[str]:
    """The names that a method takes; those of `**which: Unpack[Events]` are of that type."""
    names: set[str] = set()
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            name = parameter.annotation.removeprefix("Unpack[").removesuffix("]")
            names |= set(get_type_hints(getattr(types, name, None) or getattr(model, name)))
        else:
            names.add(parameter.name)
    return names


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_operation_is_a_method_that_takes_what_the_route_takes(route: Route) -> None:
    """And nothing else: the ids of its path, the parameters of its URL and headers, the fields of its body."""
    in_path = {f"{_thing(route)}_id"} if "{id}" in route.path else set()
    in_body = set(route.body.model_fields) if route.body is not None else set()
    said = openapi.describe([route])["paths"][route.path][route.method.lower()]["parameters"]
    in_headers = {each["name"].lower().replace("-", "_") for each in said if each["in"] == "header"}
    assert _takes(_method(route)) == (in_path | set(route.parameters) | in_headers | in_body) - LEFT_OUT


def _thing(route: Route) -> str:
    """What the id of a path is of."""
    return {"deliveries": "delivery"}.get(collection := route.path.split("/")[3], collection.removesuffix("s"))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_method_returns_what_the_route_answers(route: Route) -> None:
    """The very types that `/openapi.json` is made from; a list yields its items."""
    said = inspect.signature(_method(route)).return_annotation
    answers = {
        answer if isinstance(answer, str) or answer is None else answer.__name__ for answer in route.answers.values()
    }
    names = set(re.findall(r"\w+(?=$|\]| )", re.sub(r"\banswers\.", "", said)))
    if route.name.startswith("list"):
        schemas = openapi.describe(ROUTES)["components"]["schemas"]
        (page,) = answers
        item = schemas[page]["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
        assert said.startswith("Iterator[")
        assert item in names
    elif route.name in COUNTED:
        assert {said, inspect.signature(COUNTED[route.name]).return_annotation.removeprefix("answers.")} == answers
    else:
        expected = {{"WebhookWithSecret": "CreatedWebhook", None: "None"}.get(answer, answer) for answer in answers}
        assert names == expected


def test_a_webhook_has_the_fields_that_the_api_answers() -> None:
    """At its creation and when it is enabled too; its `ETag`, which is a header, is beside them."""
    schemas = openapi.describe(ROUTES)["components"]["schemas"]
    pairs = {
        "Webhook": types.Webhook,
        "WebhookWithSecret": types.CreatedWebhook,
        "EnabledWebhook": types.EnabledWebhook,
    }
    for name, kind in pairs.items():
        assert set(get_type_hints(kind)) == {*schemas[name]["properties"], "etag"}


def test_it_needs_the_standard_library_alone() -> None:
    """Nothing that has to be installed is imported with it."""
    script = (
        "import sys; before = set(sys.modules); import almirant_webhooks.client\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['almirant_webhooks']"


async def test_an_event_is_sent_followed_and_sent_again(service: Service, receiver: Receiver) -> None:
    """A webhook, an event of it, its delivery with the receiver's answer, a resend; lists go on over their pages."""
    address = await service.serve()
    client = Client(address, service.keys().token)

    def begin() -> str:
        created = client.create_webhook(receiver.url, ["lead.*"], project_id="proj_1", concurrency=2)
        assert created["secret"] == client.reveal_secret(created["id"])["secret"]
        assert client.update_webhook(created["id"], description="CRM", concurrency=None)["concurrency"] is None
        for number in range(60):
            client.send_event("lead.created", {"number": number}, project_id="proj_1", event_id=f"evt_{number}")
        return created["id"]

    webhook = await asyncio.to_thread(begin)
    await service.until(lambda: len(receiver.requests) == 60 and not service.log(state="pending"))

    def look() -> None:
        rows = list(client.list_deliveries(webhook=webhook, state="succeeded"))
        assert len({row["id"] for row in rows}) == 60
        delivery = client.get_delivery(rows[0]["id"])
        assert delivery["attempt_list"][0]["status_code"] == 200
        assert client.resend_delivery(delivery["id"]) == {"delivery_id": delivery["id"], "asked": True}
        assert client.get_event("evt_0")["outcomes"][0]["webhook_id"] == webhook
        assert [found["id"] for found in client.list_webhooks(project="proj_1", enabled=True)] == [webhook]
        client.delete_webhook(webhook)

    await asyncio.to_thread(look)


async def test_a_refusal_is_an_error_that_names_what_is_wrong(service: Service) -> None:
    """With the code and the sentence of each field; so is a wrong token, and an address that is none at once."""
    address = await service.serve()

    def refused() -> None:
        client = Client(f"{address}/", service.keys().token)
        with pytest.raises(ApiError, match="422 invalid_field: ") as wrong:
            client.create_webhook("http://example.com", ["nothing.*"], project_id="proj_1")
        assert (wrong.value.status, wrong.value.field) == (422, "url")
        assert wrong.value.errors.keys() == {"url", "events"}
        with pytest.raises(ApiError, match="404 not_found"):
            client.get_webhook("wh/../x")
        with pytest.raises(ApiError, match="401 unauthorized"):
            Client(address, "wrong").who_am_i()
        with pytest.raises(OSError, match="refused"):
            Client("http://127.0.0.1:1", "token").who_am_i()
        with pytest.raises(ValueError, match="http:// or https://"):
            Client("127.0.0.1:8420", "token")

    await asyncio.to_thread(refused)


async def test_what_is_asked_twice_with_a_key_is_done_once(service: Service, receiver: Receiver) -> None:
    """And answered as the first time, with the secret; with other content it is refused."""
    address = await service.serve()

    def ask() -> None:
        client = Client(address, service.keys().token)
        first, second = (
            client.create_webhook(receiver.url, ["*"], project_id="proj_1", idempotency_key="a") for _ in "ab"
        )
        assert first == second
        assert len(list(client.list_webhooks())) == 1
        with pytest.raises(ApiError, match="422"):
            client.create_webhook(f"{receiver.url}/other", ["*"], project_id="proj_1", idempotency_key="a")
        tokens = [client.create_token(project_id="proj_1", name="a", idempotency_key="b") for _ in "ab"]
        assert tokens[0] == tokens[1]

    await asyncio.to_thread(ask)


async def test_a_change_is_made_only_if_the_webhook_is_as_it_was_read(service: Service, receiver: Receiver) -> None:
    """By the `etag` of the answer before; 412 for whoever was second."""
    address = await service.serve()

    def change() -> None:
        client = Client(address, service.keys().token)
        made = client.create_webhook(receiver.url, ["*"], project_id="proj_1")
        read = client.get_webhook(made["id"])
        assert read["etag"] == made["etag"]
        changed = client.update_webhook(read["id"], description="CRM", if_match=read["etag"])
        late: list[Callable[..., Any]] = [
            partial(client.update_webhook, description="x"), client.disable_webhook, client.enable_webhook, client.delete_webhook
        ]  # fmt: skip
        for method in late:
            with pytest.raises(ApiError, match="412"):
                method(read["id"], if_match=read["etag"])
        disabled = client.disable_webhook(read["id"], if_match=changed["etag"])
        enabled = client.enable_webhook(read["id"], if_match=disabled["etag"])
        client.delete_webhook(read["id"], if_match=enabled["etag"])

    await asyncio.to_thread(change)


async def test_the_program_of_the_docs_runs_as_it_stands(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the port, which the system chose here."""
    address = await service.serve()
    monkeypatch.setenv("ALMIRANT_TOKEN", service.keys().token)
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    (program,) = re.findall(r"<!-- client -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    text = program.replace("http://127.0.0.1:8420", address)
    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", text], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "lead_1:created" in ran.stdout
    assert "invalid_field {'url': " in ran.stdout
