"""Make webhooks of what another service has: look at what a plan would do, and do it. A plan is of `rules/imports`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ..model import MASK, Refused, WebhookValues
from ..rules import validation
from ..rules.event_types import catalogue_of, is_well_formed
from ..rules.imports.plan import Plan, Planned
from ..rules.principals import Principal
from ..settings.schema import Settings
from . import reach
from .database import Database
from .webhooks import check_new

_HOW_TO_SEE_IT = "It gets a new secret: `almirant-webhooks webhook show ID --secret` prints it."
_ALL_TYPES = " Known are "  # from here on a refusal has a list, which would be there for each webhook
# And user, for which a URL is refused: what stands before an @, to the last one where a password has a / in it.
_PASSWORD = re.compile(r"//(?!\[[^\]@/]*\](?::\d*)?(?:[/?#\\]|$))(?:[^/?#\\]*:(?!\d*(?:[/?#\\]|$)).*@|[^/?#\\]*@)")
_MOST_DETAIL = 200  # characters of reasons that the audit trail has


class Verdict(StrEnum):
    """What becomes of a thing of the file."""

    CREATE = "create"
    EXISTS = "exists"
    REFUSED = "refused"
    SKIPPED = "skipped"


class Row(NamedTuple):
    """A thing of the file and what becomes of it. `reasons` say why it is refused or skipped, or made disabled."""

    verdict: Verdict
    place: str
    origin: str
    project_id: str = ""
    webhook_id: str | None = None
    url: str = ""
    events: tuple[str, ...] = ()
    enabled: bool = False
    reasons: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    receiver: str = ""


class Report(NamedTuple):
    """All rows, the event types that `events.extra_types` lacks, and names that cannot be event types here."""

    rows: list[Row]
    extra_types: list[str]
    no_types: list[str]


class Wanted(NamedTuple):
    """How webhooks are to be made: with new secrets where the file has none that can be used, all of them disabled."""

    new_secrets: bool = False
    disabled: bool = False


class _Checked(NamedTuple):
    row: Row
    planned: Planned | None = None
    values: WebhookValues | None = None
    reason: str | None = None


async def look(database: Database, principal: Principal, plan: Plan, wanted: Wanted, *, settings: Settings) -> Report:
    """Return what `apply` would do now, and change nothing. Raises `NotFound` for a project that is not theirs."""
    checked = await _checked(database, principal, plan, wanted, settings)
    return _report([item.row for item in checked], plan, settings)


async def apply(
    database: Database,
    principal: Principal,
    plan: Plan,
    wanted: Wanted,
    *,
    settings: Settings,
    now: datetime,
) -> Report:
    """Make what is planned and not there, each webhook with its entries in the audit trail in one transaction.

    So a run that was stopped is gone on with by the next one. Raises `NotFound` for a project that is not theirs.
    """
    rows = []
    for item in await _checked(database, principal, plan, wanted, settings):
        row = item.row
        if item.planned is not None and item.values is not None:
            try:
                webhook_id, is_new = await database.write(
                    database.store.imports.create,
                    item.planned.origin,
                    **item.values,
                    disabled_because=item.reason,
                    limit=settings.limits.webhooks_per_project,
                    now=now,
                    actor=principal.actor,
                )
                row = row._replace(webhook_id=webhook_id, verdict=Verdict.CREATE if is_new else Verdict.EXISTS)
            except Refused as refused:  # somebody else has filled the project meanwhile
                row = row._replace(verdict=Verdict.REFUSED, reasons=_sentences(refused))
        rows.append(row)
    return _report(rows, plan, settings)


async def _checked(
    database: Database, principal: Principal, plan: Plan, wanted: Wanted, settings: Settings
) -> list[_Checked]:
    projects = sorted({planned.project_id for planned in plan.webhooks})
    for project_id in projects:
        reach.scope(principal, project_id)
    known = await database.read(database.store.imports.known, projects)
    counts = Counter(await database.read(database.store.imports.counts, projects))
    checked = []
    for planned in plan.webhooks:
        webhook_id = known.get((planned.project_id, planned.origin))
        item = _check(planned, webhook_id, wanted, counts[planned.project_id], settings)
        counts[planned.project_id] += item.row.verdict is Verdict.CREATE
        checked.append(item)
    skipped = (Row(Verdict.SKIPPED, *skip[:2], reasons=(skip.reason,)) for skip in plan.skipped)
    return [*checked, *map(_Checked, skipped)]


def _check(planned: Planned, webhook_id: str | None, wanted: Wanted, count: int, settings: Settings) -> _Checked:
    row = Row(
        Verdict.EXISTS,
        planned.place,
        planned.origin,
        planned.project_id,
        webhook_id,
        _PASSWORD.sub(f"//{MASK}@", planned.url),
        planned.events,
        lost=tuple(planned.lost),
        receiver=planned.receiver,
    )
    if webhook_id is not None:
        return _Checked(row)
    try:
        if MASK in planned.options.get("headers", {}).values():
            raise Refused(f"A header has {MASK} in place of its value.", "headers")
        secret = _secret(planned, new=wanted.new_secrets)
        values = check_new(
            settings,
            project_id=planned.project_id,
            url=planned.url,
            events=planned.events,
            secret=secret,
            description=planned.description,
            options=planned.options,
        )
        validation.check_room(planned.project_id, count, settings.limits.webhooks_per_project)
    except Refused as refused:
        return _Checked(row._replace(verdict=Verdict.REFUSED, reasons=_sentences(refused)))
    reasons = tuple(_why_disabled(planned, all_of_them=wanted.disabled))
    row = row._replace(
        verdict=Verdict.CREATE,
        url=values["url"],
        enabled=not reasons,
        reasons=reasons,
        receiver=planned.receiver if secret is not None else f"{planned.receiver} {_HOW_TO_SEE_IT}",
    )
    return _Checked(row, planned, values, _detail(reasons) or None)


def _secret(planned: Planned, *, new: bool) -> str | None:
    """Return the secret that is kept, None for a new one; raises `Refused` where there is none and no new one is wanted."""
    try:
        if planned.secret is None:
            raise Refused(planned.why_unsigned, "secret")
        return validation.secret(planned.secret)
    except Refused as refused:
        if new:
            return None
        raise Refused(f"{refused.message} --new-secrets gives it a new one.", "secret") from None


def _why_disabled(planned: Planned, *, all_of_them: bool) -> Iterator[str]:
    if all_of_them:
        yield "All are made disabled, as you said."
    if not planned.enabled:
        yield "It is disabled there."
    yield from planned.differs


def _detail(reasons: Sequence[str]) -> str:
    """Return as many reasons as an entry of the audit trail has room for, whole, so that pages can translate each."""
    text = ""
    for reason in reasons:
        if text and len(text) + 1 + len(reason) > _MOST_DETAIL:
            break
        text = f"{text} {reason}" if text else reason[:_MOST_DETAIL]
    return text


def _sentences(refused: Refused) -> tuple[str, ...]:
    return tuple(sentence.partition(_ALL_TYPES)[0] for sentence in refused.by_field().values())


def _report(rows: list[Row], plan: Plan, settings: Settings) -> Report:
    """Return the rows with the event types that are wanted and not known; patterns are left to the refusals."""
    known = set(catalogue_of("", settings.events.extra_types))
    used = (name for planned in plan.webhooks for name in planned.events if not name.endswith("*"))
    names = [name for name in dict.fromkeys((*plan.event_types, *used)) if name not in known]
    return Report(
        rows,
        [name for name in names if is_well_formed(name)],
        [name for name in names if not is_well_formed(name)],
    )
