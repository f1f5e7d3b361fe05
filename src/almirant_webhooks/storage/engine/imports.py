"""What the import of webhooks from another service needs of an engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, Unpack

from ...model import WebhookValues
from .sessions import Session


class Imports(Protocol):
    """Webhooks that are made of what another service has, each known by its origin in its project."""

    def known(self, session: Session, project_ids: Sequence[str], /) -> dict[tuple[str, str], str]:
        """Return the webhooks of projects that were imported: the id of each by its project and origin."""

    def counts(self, session: Session, project_ids: Sequence[str], /) -> dict[str, int]:
        """Return how many webhooks each of some projects has."""

    def create(
        self,
        session: Session,
        origin: str,
        /,
        *,
        disabled_because: str | None,
        limit: int,
        now: datetime,
        actor: str,
        **values: Unpack[WebhookValues],
    ) -> tuple[str, bool]:
        """Create one, disabled where there is a reason, which the audit trail gets; return its id, and whether it is new.

        Refused when the project has `limit` of them already.
        """
