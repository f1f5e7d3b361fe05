"""What is read from the exports of other services, as a plan of webhooks. The plan knows none of them.

A module for each service (`svix`, `convoy`, `outpost`) has a function `plan`; `SOURCES` has them by the names that people use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import convoy, outpost, svix
from .document import Node
from .plan import Plan, Told

__all__ = ["SOURCES", "Plan", "Told"]

SOURCES: Mapping[str, Callable[[Node, Told], Plan]] = {
    "svix": svix.plan,
    "convoy": convoy.plan,
    "outpost": outpost.plan,
}
