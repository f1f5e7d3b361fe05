"""What is read from the exports of other services, as a plan of webhooks. The plan knows none of them.

A module for each service (`svix`, `convoy`, `outpost`) has a function `plan`; `SOURCES` has them by the names that people use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import convoy, outpost, svix
from .document import Node
from .plan import Choices, Plan

__all__ = ["SOURCES", "Choices", "Plan"]

SOURCES: Mapping[str, Callable[[Node, Choices], Plan]] = {
    "svix": svix.plan,
    "convoy": convoy.plan,
    "outpost": outpost.plan,
}
