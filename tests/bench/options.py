"""What a filter and a template cost of a delivery's processor time, and the whole process's time with them and without."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from almirant_webhooks.model import Options
from almirant_webhooks.rules import filters, paths, templates
from almirant_webhooks.rules.bodies import Body

from . import cost
from .daemon import PAYLOAD
from .nginx import nginx
from .table import Figure, Sizes, median

MOST = 0.15  # of a delivery's processor time, filter and template together
# They hold for every event here, so that as many deliveries are made.
CONDITIONS = (
    "type starts with work_item.",
    "data.workItem.id in wi_1,wi_2,wi_3",
    "data.workItem.title contains xxx",
    "data.workItem.points not exists",
    "data.workItem.id != wi_2",
)
TEMPLATE = '{"text": "{{ data.workItem.id }}: {{ data.workItem.title }}", "kind": {{ type }}}'
BODY = f'{{"id": "evt_1", "type": "work_item.created", "timestamp": "2026-11-29T00:00:00.000Z", "projectId": "p", "data": {PAYLOAD}}}'


def figures(sizes: Sizes) -> Iterator[Figure]:
    """Yield what each costs by itself, as a share of a delivery without either, and the process's time with both."""
    events, calls = sizes.of(50_000, 2_000), sizes.of(20_000, 1_000)
    filter_ = filters.check(CONDITIONS)
    assert filter_ is not None
    compiled = filters.compiled(filters.text_of(filter_))
    assert compiled.unmet(Body.of(BODY)) is None
    root = paths.read(BODY)
    options: Options = {"filter": filter_, "template": TEMPLATE}
    own: list[tuple[float, float, float]] = []
    plain, with_both = [], []
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for _ in sizes.rounds:
            read = _microseconds(lambda: paths.read(BODY), calls)
            judged = _microseconds(lambda: compiled.unmet(Body(root)), calls)
            rendered = _microseconds(lambda: templates.render_value(TEMPLATE, Body(root)), calls)
            own.append((read, judged, rendered))
            plain.append(cost.whole(server.http, events))
            with_both.append(cost.whole(server.http, events, options=options))
    read, judged, rendered = (median(part) for part in zip(*own, strict=True))
    whole = median(plain)
    share = (read + judged + rendered) / whole
    yield Figure("a delivery without options", f"{whole:.0f} µs of CPU", f"an event of {len(BODY)} bytes")
    yield _share("a filter of 5 conditions, the body's reading included", read + judged, whole)
    yield _share("a template of 3 placeholders, the body being read", rendered, whole)
    yield Figure(
        "filter and template together",
        f"{read + judged + rendered:.1f} µs",
        f"{share * 100:.1f} % of a delivery",
        f"≤ {MOST * 100:.0f} %",
        share <= MOST,
    )
    yield Figure(
        "a delivery with both, what the template makes stored with it",
        f"{median(with_both):.0f} µs of CPU",
        f"without {whole:.0f} µs",
    )


def _share(name: str, own: float, whole: float) -> Figure:
    return Figure(name, f"{own:.1f} µs", f"{own / whole * 100:.1f} % of a delivery")


def _microseconds(call: Callable[[], object], calls: int) -> float:
    """Return the processor time of a call."""
    begin = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - begin) / calls * 1e6
