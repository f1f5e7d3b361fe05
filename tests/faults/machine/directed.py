"""What the machines with a bug begin a rule with."""

from __future__ import annotations

from hypothesis import strategies as st

from almirant_webhooks.model import Outcome

from .invariants import Machine


class Directed(Machine):
    """Has what a rule begins with that draws the steps which show a bug one after the other: chance seldom does."""

    def make_ready(self, data: st.DataObject) -> str:
        """Return a webhook that nothing keeps from the two new events; nothing is in flight. A directed rule begins so."""
        webhook = str(data.draw(st.sampled_from(sorted(self.webhooks))))
        self.end_all(Outcome.SUCCESS)
        if not self.webhooks[webhook]:
            self.enable_or_disable(webhook, False)
        if webhook in self.places.ordered:
            self.switch_order(webhook)
        self.limit_rate(webhook, None)
        self.filter_events(webhook, None)
        newest = max(self.ids)
        self.insert(newest + 1, False)
        self.insert(newest + 2, False)
        return webhook
