"""A route of the API: what it is, who may use it, and what its document says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from ...rules.principals import Role
from ..guard import Handler

ADMINS = (Role.OPERATOR, Role.PROJECT_ADMIN)


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path, by the name that generated clients call it; `answers` maps each status of success to the type of its body, or its name
    (None: no body).

    `writes` is for a GET that leaves something behind; `if_match` for a change that can be made on a condition.
    """

    method: str
    path: str
    name: str
    handler: Handler
    summary: str
    answers: Mapping[int, type | str | None]
    roles: tuple[Role, ...] = ADMINS
    body: type[BaseModel] | None = None
    parameters: tuple[str, ...] = ()
    writes: bool = False
    if_match: bool = False
