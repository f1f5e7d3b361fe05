"""What somebody may see and change: all of it, or what is of their project. The rest is not there for them."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import NotFound, Webhook
from ..rules.principals import Principal
from ..rules.stored_texts import recognised
from ..rules.texts import Text
from ..storage.records import Resend
from .database import Database


def scope(principal: Principal, project_id: str | None) -> str | None:
    """Return the project to look at: their own, else the one that was asked for (None: all).

    Raises `NotFound` for a project that is not theirs.
    """
    if project_id is not None and not principal.reaches(project_id):
        raise NotFound(Text("There is no project {project_id}.", project_id=project_id), "project")
    return principal.project_id or project_id


def check(principal: Principal, project_id: str, what: str) -> None:
    """Raise `NotFound` in the words of a thing that is not there, when it is another project's."""
    if not principal.reaches(project_id):
        raise NotFound(recognised(f"There is no {what}."), "id")


async def webhook(database: Database, principal: Principal, webhook_id: str) -> Webhook:
    """Return a webhook that is theirs, or raise `NotFound`."""
    row = await database.read(database.store.webhooks.get, webhook_id)
    check(principal, row.project_id, f"webhook {webhook_id}")
    return row


async def check_deliveries(database: Database, principal: Principal, delivery_ids: Sequence[str]) -> None:
    """Raise `NotFound` unless every delivery is there and theirs."""
    projects = await database.read(database.store.projects.projects_of, delivery_ids)
    for delivery_id in delivery_ids:
        if delivery_id not in projects:
            raise NotFound(Text("There is no delivery {delivery_id}.", delivery_id=delivery_id), "id")
        check(principal, projects[delivery_id], f"delivery {delivery_id}")


async def bulk_resend(database: Database, principal: Principal, resend_id: str) -> Resend:
    """Return a resend of many with its progress, or raise `NotFound`; one of several projects is the operator's."""
    row = await database.read(database.store.resends.get, resend_id)
    check(principal, row["project_id"] or "", f"resend {resend_id}")
    return row
