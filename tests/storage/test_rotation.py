"""Changing a secret: no event is lost, whichever of the two secrets a receiver has, at any time (issue of day two)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
import svix

from almirant_webhooks import clock, verify
from almirant_webhooks.model import Claim, Outcome, Refused, Secrets
from almirant_webhooks.storage.sql import claiming, rotation, sealed, webhooks

from ..support.service import SECRET, Service
from ..support.shell import Shell
from ..support.signed import headers_sent, request_headers
from ..support.steps import START, Steps, transaction

DAY = timedelta(hours=24)
NEW = "whsec_" + "bmV3LW9mLXRoaXJ0eS10d28tYnl0ZXMtbG9uZy0tLSE="


def rotate(there: Steps, webhook_id: str, now: datetime, wait: timedelta = DAY, secret: str = NEW) -> None:
    with transaction(there.conn):
        rotation.start(there.conn, webhook_id, secret=secret, switch_at=now + wait, actor="operator", now=now)


def sent(there: Steps, webhook_id: str, at: datetime) -> Claim:
    """Make an attempt at a time; its event is fanned out then."""
    there.event(at)
    with transaction(there.conn):
        (claim,) = claiming.claim(there.conn, {webhook_id: 10}, at)
    there.record(claim, Outcome.SUCCESS, at, status_code=200)
    return claim


def accepts(library: object, claim: Claim, secret: str) -> bool:
    """Ask an official library of Standard Webhooks, whose clock is set aside by signing anew at the present time."""
    headers = dict(headers_sent(claim))
    now = datetime.now(UTC)
    stamped = request_headers(
        url=claim.url, secret=claim.secret, body=claim.body, delivery_id=claim.delivery_id,
        event_type=claim.event_type, number=claim.number, started_at=now, test=False,
        **_others(claim),
    )  # fmt: skip
    assert [name for name, _ in stamped] == list(headers)
    try:
        library.Webhook(secret).verify(claim.body, dict(stamped))  # type: ignore[attr-defined]
    except (standardwebhooks.WebhookVerificationError, svix.webhooks.WebhookVerificationError):
        return False
    return True


def _others(claim: Claim) -> dict[str, str | None]:
    """Tell from an attempt's headers which other secret signed it."""
    headers = dict(headers_sent(claim))
    signatures = headers["webhook-signature"].split()
    if len(signatures) == 1:
        return {}
    other = NEW if claim.secret == SECRET else SECRET
    name = "next_secret" if "X-Almirant-Signature-Next" in headers else "last_secret"
    return {name: other}


@pytest.mark.parametrize("library", [standardwebhooks, svix], ids=["standardwebhooks", "svix"])
def test_the_official_libraries_accept_with_either_secret_until_a_day_after_the_switch(
    steps: Steps,
    library: object,
) -> None:
    """A receiver may change over at any time between the rotation's begin and a day after its switch."""
    webhook = steps.webhook(secret=SECRET)
    assert accepts(library, sent(steps, webhook.id, START), SECRET)
    rotate(steps, webhook.id, START)
    last = START + 2 * DAY - timedelta(milliseconds=1)
    for at in (START, START + DAY - timedelta(milliseconds=1), START + DAY, last):
        claim = sent(steps, webhook.id, at)
        assert accepts(library, claim, SECRET)
        assert accepts(library, claim, NEW)
        headers = dict(headers_sent(claim))
        seconds = float(headers["webhook-timestamp"])
        for secret in (SECRET, NEW):
            assert verify.verify_standard(claim.body, headers, secret, now=seconds)
    claim = sent(steps, webhook.id, START + 2 * DAY)
    assert not accepts(library, claim, SECRET)
    assert accepts(library, claim, NEW)


def test_the_page_s_signature_changes_at_the_switch_and_the_next_one_is_shown_before_it(steps: Steps) -> None:
    """`X-Almirant-Signature` is never anything but one secret's, so that receivers can compare the whole header."""
    webhook = steps.webhook(secret=SECRET)
    rotate(steps, webhook.id, START)
    before = sent(steps, webhook.id, START + DAY - timedelta(milliseconds=1))
    after = sent(steps, webhook.id, START + DAY)
    headers = dict(headers_sent(before))
    assert verify.verify_almirant(before.body, headers["X-Almirant-Signature"], SECRET)
    assert verify.verify_almirant(before.body, headers["X-Almirant-Signature-Next"], NEW)
    headers = dict(headers_sent(after))
    assert verify.verify_almirant(after.body, headers["X-Almirant-Signature"], NEW)
    assert "X-Almirant-Signature-Next" not in headers


@pytest.mark.parametrize("settle", [True, False], ids=["with the pruner", "without it"])
def test_a_restart_or_a_missed_step_changes_nothing(steps: Steps, settle: bool) -> None:
    """What signs is told by the row and the time alone; the pruner forgets the old secret when its day is over."""
    webhook = steps.webhook(secret=SECRET)
    rotate(steps, webhook.id, START)
    for at in (START + DAY, START + 2 * DAY - timedelta(milliseconds=1), START + 2 * DAY, START + 9 * DAY):
        if settle:
            with transaction(steps.conn):
                assert rotation.settle(steps.conn, at) == (at == START + 2 * DAY)
        claim = sent(steps, webhook.id, at)
        assert claim.secret == NEW
        assert len(dict(headers_sent(claim))["webhook-signature"].split()) == (2 if at < START + 2 * DAY else 1)
    secret, next_secret, switch_at = steps.conn.execute(
        "SELECT secret, next_secret, switch_at FROM webhooks"
    ).fetchone()
    opened = (
        sealed.open_or_none(steps.conn, webhook.id, "secret", secret),
        sealed.open_or_none(steps.conn, webhook.id, "next_secret", next_secret),
    )
    assert (*opened, switch_at) == ((NEW, None, None) if settle else (SECRET, NEW, "2026-11-24T09:00:00.000Z"))


def test_a_rotation_is_taken_back_before_its_switch_and_not_after_it(steps: Steps) -> None:
    """After the switch receivers may have let go of the old secret."""
    webhook = steps.webhook(secret=SECRET)

    def cancel(now: datetime) -> None:
        with transaction(steps.conn):
            rotation.cancel(steps.conn, webhook.id, actor="operator", now=now)

    with pytest.raises(Refused, match="no new secret"):
        cancel(START)
    rotate(steps, webhook.id, START)
    cancel(START + DAY - timedelta(milliseconds=1))
    assert sent(steps, webhook.id, START + DAY).secret == SECRET
    rotate(steps, webhook.id, START + DAY)
    with pytest.raises(Refused, match="has switched"):
        cancel(START + 2 * DAY)


def test_a_second_rotation_waits_for_the_first_or_brings_its_switch_forward(steps: Steps) -> None:
    """`--now` switches to the secret that receivers were given; after the switch a new rotation may begin."""
    webhook = steps.webhook(secret=SECRET)
    rotate(steps, webhook.id, START)
    with pytest.raises(Refused, match="Keep the old secret, or switch to the new one now"):
        rotate(steps, webhook.id, START, secret="s" * 20)
    rotate(steps, webhook.id, START, timedelta(0), secret="s" * 20)
    claim = sent(steps, webhook.id, START)
    assert claim.secret == NEW
    rotate(steps, webhook.id, START, secret="s" * 20)
    with transaction(steps.conn):
        found = rotation.reveal(steps.conn, webhook.id, actor="operator", now=START)
    assert found == Secrets(NEW, next="s" * 20)


def test_an_update_of_the_secret_ends_a_rotation(steps: Steps) -> None:
    """It is the way to change a secret at once, with nothing of another one in the requests."""
    webhook = steps.webhook(secret=SECRET)
    rotate(steps, webhook.id, START)
    with transaction(steps.conn):
        webhooks.update(steps.conn, webhook.id, secret="s" * 20, now=START)
        assert rotation.state(steps.conn, webhook.id, START) is None
    claim = sent(steps, webhook.id, START)
    assert claim.secret == "s" * 20
    assert len(dict(headers_sent(claim))["webhook-signature"].split()) == 1


def test_after_a_deletion_nothing_of_a_secret_is_left_in_the_webhook_s_row(steps: Steps) -> None:
    """Neither of the current one nor of the next."""
    webhook = steps.webhook(secret=SECRET)
    rotate(steps, webhook.id, START)
    with transaction(steps.conn):
        webhooks.delete(steps.conn, webhook.id, START)
    row = steps.conn.execute("SELECT * FROM webhooks").fetchone()
    assert not {SECRET, NEW} & set(row)
    assert (row["secret"], row["next_secret"]) == ("", None)
    with pytest.raises(steps.refusal, match="keeps no next secret"), transaction(steps.conn):
        steps.conn.execute("UPDATE webhooks SET next_secret = 'x', switch_at = ?", (clock.text(START),))


def test_the_command_rotates_shows_and_takes_back(shell: Shell) -> None:
    """The new secret is printed at its begin; `webhook show --secret` tells what signs now."""
    create = ("webhook", "create", "--project", "p", "--url", "https://example.com", "--event", "*", "--json")
    made = json.loads(shell.ours(*create))
    rotate_secret = ("webhook", "rotate-secret", made["id"])
    begun = json.loads(shell.ours(*rotate_secret, "--json"))
    assert begun["secret"] not in (made["secret"], "")
    shown = json.loads(shell.ours("webhook", "show", made["id"], "--secret", "--json"))
    assert (shown["secret"], shown["next_secret"]) == (made["secret"], begun["secret"])
    assert (shown["switch_at"], shown["switched"]) == (begun["switch_at"], False)
    assert "--cancel" in shell.ours(*rotate_secret, code=1)
    shell.ours(*rotate_secret, "--cancel")
    shell.ours(*rotate_secret, "--switch-after", "48h", "--secret", "my own new secret")
    shell.ours(*rotate_secret, "--now")
    shown = json.loads(shell.ours("webhook", "show", made["id"], "--secret", "--json"))
    assert (shown["secret"], shown["switched"]) == ("my own new secret", True)
    assert "has switched" in shell.ours(*rotate_secret, "--cancel", code=1)
    assert "at most 30d" in shell.ours(*rotate_secret, "--switch-after", "31d", code=1)
    shell.ours(*rotate_secret, "--now", "--cancel", code=2)


def test_the_audit_trail_tells_who_did_what_and_holds_no_secret(service: Service) -> None:
    """It outlives the webhook; each action is an entry with the command's system user."""
    service.migrate()
    shell = service.shell()
    url = "https://example.com/a-path-like-a-password"
    made = json.loads(shell.ours("webhook", "create", "--project", "p", "--url", url, "--event", "*", "--json"))
    one = made["id"]
    for words in (
        ("update", one, "--url", url + "2", "--description", "x"),
        ("disable", one),
        ("disable", one),
        ("enable", one, "--discard-held"),
        ("test", one),
        ("show", one),
        ("show", one, "--secret"),
        ("rotate-secret", one),
        ("rotate-secret", one, "--cancel"),
    ):
        shell.ours("webhook", *words)
    (row,) = json.loads(shell.ours("delivery", "list", "--json"))
    shell.ours("webhook", "delete", one, "--yes")
    entries = json.loads(shell.ours("audit", "--webhook", one, "--json"))[::-1]
    assert [entry["action"] for entry in entries] == [
        "webhook.created", "webhook.updated", "webhook.disabled", "webhook.enabled", "webhook.tested",
        "secret.revealed", "secret.rotated", "secret.rotation_cancelled", "webhook.deleted",
    ]  # fmt: skip
    assert entries[1]["detail"] == "url, description"
    assert entries[4]["delivery_id"] == row["delivery_id"]
    assert all(entry["actor"].startswith("user ") and entry["project_id"] == "p" for entry in entries)
    everything = "\n".join(str(tuple(entry)) for entry in service.execute("SELECT * FROM audit"))
    assert "example.com" not in everything
    assert made["secret"] not in everything
    assert "webhook.deleted" in shell.ours("audit", "--project", "p", "--since", "1h", "--limit", "1")
