"""The API is what `/openapi.json` says: schemathesis makes requests from it and holds the answers against it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import aiohttp
import pytest
from jsonschema_rs import Draft202012Validator

from almirant_webhooks.model import NewWebhook, Webhook
from almirant_webhooks.rules.event_types import CATALOGUE, NOTICES
from almirant_webhooks.web.api import ROUTES, openapi

from ..conftest import Receiver
from ..support.service import Service

COMMAND = Path(sys.executable).with_name("schemathesis")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "negative_data_rejection",
)


@pytest.mark.long
async def test_the_server_keeps_to_its_document(service: Service, receiver: Receiver, tmp_path: Path) -> None:
    """Valid and invalid requests alike: no answer that is not described, and never a 500."""
    address = await service.serve()
    service.webhook(receiver.url)
    service.insert()
    await service.until(lambda: service.log(state="succeeded"))
    async with aiohttp.ClientSession() as client, client.get(f"{address}/openapi.json") as answer:
        document = await answer.json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}
    command = [
        str(COMMAND), "run", f"{address}/openapi.json", "--header", f"Authorization: Bearer {service.keys().token}",
        "--max-examples", "4", "--phases", "examples,coverage,fuzzing", "--checks", ",".join(CHECKS), "--no-color",
        "--generation-database", "none", "--seed", "1", "--max-failures", "3",
    ]  # fmt: skip
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    ran = await asyncio.to_thread(run)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]


@pytest.mark.parametrize("kind", [Webhook, NewWebhook])
def test_a_webhook_is_described_as_the_storage_has_it(kind: type[Webhook]) -> None:
    """Each field, and no other; the secret is there at its creation alone."""
    name = {Webhook: "Webhook", NewWebhook: "WebhookWithSecret"}[kind]
    schema = openapi.describe(ROUTES)["components"]["schemas"][name]
    assert list(schema["properties"]) == schema["required"] == [field.name for field in fields(kind)]
    assert schema["properties"]["events"] == {"type": "array", "items": {"type": "string"}}
    assert ("secret" in schema["properties"]) is (kind is NewWebhook)


def test_the_page_of_the_api_names_every_route() -> None:
    """And no other."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    named = set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", page, re.MULTILINE))
    assert named == {f"{route.method} {route.path}" for route in ROUTES}


def test_every_operation_is_named_and_described() -> None:
    """A name of its own, a group that is described, words for each parameter, and a type for each answer."""
    document = openapi.describe(ROUTES)
    tags, schemas = {tag["name"] for tag in document["tags"]}, document["components"]["schemas"]
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert set(operation["tags"]) <= tags
        assert all(parameter["description"] for parameter in operation["parameters"])
        for status, answer in operation["responses"].items():
            contents = list(answer.get("content", {}).values())
            assert bool(contents) is (status != "204")
            for content in contents:
                assert schemas[content["schema"]["$ref"].rpartition("/")[2]]["properties"]


def test_the_document_has_the_request_of_each_type_of_the_catalogue() -> None:
    """As `webhooks` of OpenAPI 3.1: its sample fits its schema, and so does a body that says more or less in `data`."""
    described = openapi.describe(ROUTES)["webhooks"]
    assert list(described) == [*CATALOGUE, *NOTICES]
    for event_type, methods in described.items():
        media = methods["post"]["requestBody"]["content"]["application/json"]
        validator = Draft202012Validator(media["schema"])
        assert list(validator.iter_errors(media["example"])) == []
        validator.validate({**media["example"], "data": {"more": 1}})
        assert not validator.is_valid({**media["example"], "type": "other.type"})
        assert not validator.is_valid({"type": event_type, "data": {}})


async def test_the_types_come_with_their_meaning_a_sample_and_a_schema(service: Service) -> None:
    """Those of an operator's own too."""
    service.options["events"] = {"extra_types": ["invoice.paid"]}
    address = await service.serve()
    headers = {"Authorization": f"Bearer {service.keys().token}"}
    async with aiohttp.ClientSession(headers=headers) as client, client.get(f"{address}/api/v1/event-types") as answer:
        items = {item["event_type"]: item for item in (await answer.json())["items"]}
    assert list(items) == [*CATALOGUE, "invoice.paid", *NOTICES]
    for item in items.values():
        Draft202012Validator(item["schema"]["properties"]["data"]).validate(item["sample"])
    assert items["work_item.moved"]["description"] == "A work item is moved between board columns."


async def test_a_problem_has_a_type_of_its_own(service: Service) -> None:
    """A URN that ends in its code, as the document lists it: programs need not read the sentence."""
    described = openapi.describe(ROUTES)["components"]["schemas"]["Problem"]["properties"]
    address = await service.serve()
    async with aiohttp.ClientSession(address) as client:
        for path, code in (("/api/v1/webhooks", "unauthorized"), ("/api/v1/none", "not_found")):
            async with client.get(path) as answer:
                problem = await answer.json(content_type=None)
            assert (problem["type"], problem["code"]) == (f"urn:almirant-webhooks:problem:{code}", code)
            assert problem["type"] in described["type"]["enum"]
