"""`/openapi.json`: the API described from its own table of routes (OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter

from ...model import NewWebhook, Webhook
from ...rules.selection import STATES
from ..problems import CODES
from .parsing import MAX_LIMIT
from .routes import Route
from .schemas import name_of, schemas_of

_TEXT: dict[str, Any] = {"type": "string"}
_MAYBE: dict[str, Any] = {"type": ["string", "null"]}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "state": {"enum": list(STATES)},
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    "enabled": {"enum": ["true", "false"]},
    "unmatched": {"enum": ["true", "false"]},
    "count": {"enum": ["true", "false"]},
}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _of(kind: type) -> dict[str, Any]:
    """Return the schema of what storage and answers have as a dataclass."""
    fields = TypeAdapter(kind).json_schema(mode="serialization")["properties"]
    return _object({name: {key: field[key] for key in field if key != "title"} for name, field in fields.items()})


def _page(of: dict[str, Any]) -> dict[str, Any]:
    return _object({"items": {"type": "array", "items": of}, "next_cursor": _MAYBE})


_SCHEMAS: dict[str, dict[str, Any]] = {
    "Object": {"type": "object"},
    "Page": _page({"type": "object"}),
    "Webhook": _of(Webhook),
    "WebhookWithSecret": _of(NewWebhook),
    "WebhookPage": _page(_of(Webhook)),
    "Delivery id": _object({"delivery_id": _TEXT}),
    "Event id": _object({"event_id": _TEXT}),
    "Problem": _object(
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "code": {"enum": list(CODES.values())},
            "detail": _TEXT,
        }
    ),
}


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    schemas = {name.replace(" ", ""): schema for name, schema in _SCHEMAS.items()}
    for route in routes:
        for answer in route.answers.values():
            if isinstance(answer, type):
                schemas |= schemas_of(answer)
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "almirant-webhooks", "version": version("almirant-webhooks")},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(route: Route) -> dict[str, Any]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in re.findall(r"{(\w+)}", route.path)
    ]
    in_query = [{"name": name, "in": "query", "schema": _PARAMETERS.get(name, _TEXT)} for name in route.parameters]
    in_headers = [{"name": "If-Match", "in": "header", "schema": _TEXT}] if route.if_match else []
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": f"For {', '.join(f'a {role.value}' for role in route.roles)}.",
        "parameters": in_path + in_query + in_headers,
        "responses": {
            **{str(status): _response(route.summary, answer) for status, answer in route.answers.items()},
            "default": _response("A problem (RFC 9457)", "Problem", "application/problem+json"),
        },
    }
    if route.body is not None:
        schema = route.body.model_json_schema()
        operation["requestBody"] = {
            "content": {"application/json": {"schema": schema}},
            "required": bool(schema.get("required")),
        }
    return operation


def _response(words: str, answer: type | str | None, kind: str = "application/json") -> dict[str, Any]:
    if answer is None:
        return {"description": words}
    name = name_of(answer) if isinstance(answer, type) else answer.replace(" ", "")
    return {"description": words, "content": {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}}}
