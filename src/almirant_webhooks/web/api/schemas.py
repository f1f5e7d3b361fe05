"""JSON Schema of the types that answers have (JSON Schema 2020-12, as OpenAPI 3.1 uses it)."""

from __future__ import annotations

from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
Schemas = dict[str, dict[str, Any]]


def schemas_of(kind: type) -> Schemas:
    """Return the schemas of a type of answer and of every type of answer in it, by their names."""
    schemas: Schemas = {}
    _schema(kind, schemas)
    return schemas


def _schema(hint: Any, schemas: Schemas) -> dict[str, Any]:
    if is_typeddict(hint):
        _add(hint, schemas)
        return {"$ref": f"#/components/schemas/{hint.__name__}"}
    if hint is Any:
        return {}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [member.value for member in hint]}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return _schema(arguments[0], schemas)
    if origin in (Union, UnionType):
        options = [_schema(argument, schemas) for argument in arguments]
        plain = [option["type"] for option in options if option.keys() == {"type"}]
        return {"type": plain} if len(plain) == len(options) else {"anyOf": options}
    if origin is list or (origin is tuple and arguments[-1] is ...):
        return {"type": "array", "items": _schema(arguments[0], schemas)}
    if origin is tuple:
        items = [_schema(argument, schemas) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], schemas)}
    raise TypeError(f"{hint!r} has no schema here")


def _add(kind: Any, schemas: Schemas) -> None:
    name = kind.__name__
    if name in schemas:
        return
    schema = schemas[name] = {"type": "object", "description": kind.__doc__ or ""}
    hints = get_type_hints(kind, include_extras=True)
    schema["properties"] = {field: _schema(hint, schemas) for field, hint in hints.items()}
    schema["required"] = [field for field, hint in hints.items() if get_origin(hint) is not NotRequired]
