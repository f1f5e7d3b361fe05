"""`/openapi.json`: the API described from its own table of routes (OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from ...model import NewWebhook, Webhook
from ..problems import CODES, TYPES
from .documented import EVENTS, PARAMETERS, TAGS
from .routes import Route
from .schemas import schemas_of

_TEXT: dict[str, Any] = {"type": "string"}
_MAYBE: dict[str, Any] = {"type": ["string", "null"]}


def _object(properties: dict[str, Any], required: Iterable[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}


def _of(kind: type, **more: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of what storage and answers have as a dataclass."""
    fields = TypeAdapter(kind).json_schema(mode="serialization")["properties"]
    return _object(
        {name: {key: field[key] for key in field if key != "title"} for name, field in fields.items()} | more
    )


_FIELD = _object({"field": _TEXT, "detail": _TEXT})
_SCHEMAS: dict[str, dict[str, Any]] = {
    "Webhook": _of(Webhook),
    "WebhookWithSecret": _of(NewWebhook),
    "EnabledWebhook": _of(Webhook, held={"type": "integer"}),
    "WebhookPage": _object(
        {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Webhook"}}, "next_cursor": _MAYBE}
    ),
    "Problem": _object(
        {
            "type": {"enum": list(TYPES)},
            "title": _TEXT,
            "status": {"type": "integer"},
            "code": {"enum": list(CODES.values())},
            "detail": _TEXT,
            "field": _TEXT,
            "errors": {"type": "array", "items": _FIELD},
        },
        ("type", "title", "status", "code", "detail"),
    ),
}


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    schemas = dict(_SCHEMAS)
    for route in routes:
        for answer in route.answers.values():
            if isinstance(answer, type):
                schemas |= schemas_of(answer)
        if route.body is not None:
            schemas[_body_name(route)] = _described(route.body.model_json_schema())
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "almirant-webhooks",
            "version": version("almirant-webhooks"),
            "description": "Webhooks of a project, what was delivered to them, and sending again.",
        },
        "tags": [{"name": name, "description": words} for name, words in TAGS.items()],
        "paths": paths,
        "webhooks": EVENTS,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _body_name(route: Route) -> str:
    return f"{route.name[0].upper()}{route.name[1:]}Body"


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body without titles, which say the names again, and without defaults.

    A generated client that sees a default takes the field for one that has to be given.
    """
    fields = {
        name: {key: field[key] for key in field if key not in {"title", "default"}}
        for name, field in schema["properties"].items()
    }
    return {**{key: schema[key] for key in schema if key != "title"}, "properties": fields}


def _operation(route: Route) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT, "description": PARAMETERS[name][0]}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    in_query = [
        {"name": name, "in": "query", "schema": schema, "description": words}
        for name in route.parameters
        for words, schema in (PARAMETERS[name],)
    ]
    names = (["If-Match"] if route.if_match else []) + (["Idempotency-Key"] if route.method == "POST" else [])
    in_headers = [
        {"name": name, "in": "header", "schema": schema, "description": words}
        for name in names
        for words, schema in (PARAMETERS[name],)
    ]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.path.split("/")[3]],
        "summary": route.summary,
        "description": f"For {', '.join(f'a {role.value}' for role in route.roles)}.",
        "parameters": in_path + in_query + in_headers,
        "responses": {
            **{str(status): _response(route.summary, answer) for status, answer in route.answers.items()},
            "default": _response("A problem (RFC 9457)", "Problem", "application/problem+json"),
        },
    }
    if route.body is not None:
        operation["requestBody"] = {
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_body_name(route)}"}}},
            "required": bool(route.body.model_json_schema().get("required")),
        }
    return operation


def _response(words: str, answer: type | str | None, kind: str = "application/json") -> dict[str, Any]:
    if answer is None:
        return {"description": words}
    name = answer.__name__ if isinstance(answer, type) else answer
    return {"description": words, "content": {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}
