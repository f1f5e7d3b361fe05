"""Preview what a webhook would get of the newest events of its project, before its filter or template is saved."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

from ..model import Options, WrongUsage
from ..rules import filters, paths, templates, validation, webhook_options
from ..rules.bodies import Body
from ..rules.principals import Principal
from ..rules.texts import Text
from ..settings.schema import Settings
from ..storage.engine import Session, TakenEvent
from . import reach
from .database import Database

EVENTS = 100  # the newest that are looked at
SHOWN = 5  # bodies
MAX_SHOWN = 16 * 1024  # characters of a body
MAX_READ = 8 * 1024 * 1024  # characters of bodies that are read
SECONDS = 1.0
OPTIONS = ("filter", "template")  # what a preview goes by


class PreviewedBody(TypedDict):
    """What would be sent for an event; `cut` says that it is longer. Without a body `cause` says why there is none."""

    event_id: str
    event_type: str
    created_at: str
    body: str
    cut: bool
    cause: str | None


class Unmet(TypedDict):
    """A condition, and for how many events it is the first that does not hold."""

    condition: str
    events: int


class Preview(TypedDict):
    """What would become of the newest events that match the types, 100 at most; of those that would be sent the newest bodies.

    For those that would have `failed` the template makes no body.
    `looked_back_to` is the time down to which a preview has come that stopped early.
    """

    events: int
    sent: int
    filtered_out: int
    failed: int
    conditions: list[Unmet]
    bodies: list[PreviewedBody]
    looked_back_to: str | None


async def preview(
    database: Database,
    principal: Principal,
    *,
    settings: Settings,
    webhook_id: str | None = None,
    project_id: str | None = None,
    events: Sequence[str] | None = None,
    options: Mapping[str, object],
) -> Preview:
    """Return what a webhook would get, one that is there or one that is not made yet; what is given goes before what it has.

    It reads on a session that reads, for a second at most, and 8 MiB of bodies. Raises `NotFound`, `WrongUsage` where it is
    not said which webhook or which project and types, and `Refused`.
    """
    current: Options = {}
    if webhook_id is not None:
        if project_id is not None:
            raise WrongUsage(Text("Give the webhook or the project, not both."), "project_id")
        webhook = await reach.webhook(database, principal, webhook_id)
        project, patterns = webhook.project_id, webhook.events
        current = {"filter": webhook.filter, "template": webhook.template}
    else:
        scope = reach.scope(principal, project_id)
        if scope is None:
            raise WrongUsage(Text("Name the webhook, or its project and events."), "project_id")
        project, patterns = validation.project_id(scope), ()
    if events is not None or not patterns:
        patterns = validation.events(events or (), settings.events.extra_types, project)
    checked = {name: webhook_options.check(name, options[name]) for name in OPTIONS if name in options}
    judge = _Judge({**current, **checked})  # type: ignore[typeddict-item]

    def look(conn: Session) -> Preview:
        return _look(database, conn, project, patterns, judge)

    return await database.read(look)


def _look(database: Database, conn: Session, project: str, patterns: Sequence[str], judge: _Judge) -> Preview:
    """Judge the newest events until there are enough, or it takes too long."""
    end = time.monotonic() + SECONDS
    previews = database.store.previews
    before: int | None = None
    while True:
        page = previews.newest(conn, project, patterns, before, EVENTS - judge.events)
        for seq in page.seqs:
            judge.add(previews.event(conn, seq))
            if judge.events < EVENTS and (judge.read >= MAX_READ or time.monotonic() >= end):
                return judge.answer(looked_back_to=judge.reached)
        before = page.before
        if judge.events >= EVENTS or before is None:
            return judge.answer(looked_back_to=None)
        if time.monotonic() >= end:
            return judge.answer(looked_back_to=page.looked_back_to)


class _Judge:
    """Says of events what would become of them by options, and counts."""

    def __init__(self, options: Options) -> None:
        filter_ = options.get("filter")
        self._filter = None if filter_ is None else filters.compiled(filters.text_of(filter_))
        self._template = options.get("template")
        self.events = 0
        self._failed = 0
        self.read = 0
        self.reached: str | None = None
        self._conditions: Counter[str] = Counter()
        self._bodies: list[PreviewedBody] = []

    def add(self, event: TakenEvent) -> None:
        """Judge an event."""
        body = event["body"]
        self.events += 1
        self.read += len(body)
        self.reached = event["created_at"]
        read = Body.of(body) if self._filter or self._template else Body(paths.MISSING)
        condition = self._filter.unmet(read) if self._filter else None
        if condition is not None:
            self._conditions[condition] += 1
            return
        cause = None
        if self._template is not None:
            try:
                body = templates.render_value(self._template, read)
            except templates.CannotRender as error:
                body, cause = "", Text("{cause}.", cause=error.args[0])
                self._failed += 1
        if len(self._bodies) < SHOWN:
            cut = len(body) > MAX_SHOWN
            self._bodies.append({**event, "body": body[:MAX_SHOWN], "cut": cut, "cause": cause})

    def answer(self, *, looked_back_to: str | None) -> Preview:
        """Return what came of it."""
        filtered_out = self._conditions.total()
        return {
            "events": self.events,
            "sent": self.events - filtered_out - self._failed,
            "filtered_out": filtered_out,
            "failed": self._failed,
            "conditions": [{"condition": name, "events": count} for name, count in self._conditions.most_common()],
            "bodies": self._bodies,
            "looked_back_to": looked_back_to,
        }
