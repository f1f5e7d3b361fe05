"""Signatures, held against the customer's page and the official libraries."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from almirant_webhooks import clock, verify
from almirant_webhooks.model import Refused
from almirant_webhooks.rules import signing

from ..support import needs
from ..support.signed import request_headers

EVERY_PLANE = "".join(chr(plane * 0x10000 + 0x41) for plane in range(17)).encode()
OWN_SECRETS = ["a plain own secret", "ключ от всех дверей", "whsec_not base64 at all", "whsec_c2hvcnQ="]

PAGE_NODE = """
import crypto from 'node:crypto';

function verifyWebhookSignature(body, signature, secret) {
const expectedSignature = crypto
.createHmac('sha256', secret)
.update(body, 'utf8')
.digest('hex');

return crypto.timingSafeEqual(
Buffer.from(signature),
Buffer.from(expectedSignature)
);
}

const [body, signature, secret] = JSON.parse(process.argv[1]);
console.log(verifyWebhookSignature(body, signature, secret));
"""


def verify_webhook_signature(body: bytes, signature: str, secret: str) -> bool:
    """The Python example of the customer's page."""
    expected = hmac.new(
        secret.encode('utf-8'),
        body,
        hashlib.sha256
    ).hexdigest()  # fmt: skip
    return hmac.compare_digest(signature, expected)


def _headers(body: bytes, secret: str) -> dict[str, str]:
    return dict(
        request_headers(
            url="https://example.com:8443/in",
            secret=secret,
            body=body,
            delivery_id="dlv_1",
            event_type="lead.created",
            number=3,
            started_at=clock.now(),
            test=False,
        )
    )


@given(st.binary(max_size=200))
def test_the_page_s_python_verifier_accepts_what_is_signed(body: bytes) -> None:
    """And refuses a body that differs by a byte."""
    for secret in (signing.generate_secret(), *OWN_SECRETS):
        signature = _headers(body, secret)["X-Almirant-Signature"]
        assert verify_webhook_signature(body, signature, secret)
        assert not verify_webhook_signature(body + b"x", signature, secret)
        assert verify.verify_almirant(body, signature, secret)


@pytest.mark.long
@pytest.mark.parametrize("secret", [signing.generate_secret(), *OWN_SECRETS], ids=["generated", *OWN_SECRETS])
def test_the_page_s_node_verifier_accepts_what_is_signed(secret: str) -> None:
    """With a body of every Unicode plane."""
    node = needs.program("node")
    signature = _headers(EVERY_PLANE, secret)["X-Almirant-Signature"]
    given = json.dumps([EVERY_PLANE.decode(), signature, secret])
    command = [node, "--input-type=module", "-e", PAGE_NODE, given]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "true"


def test_the_official_libraries_accept_what_is_signed() -> None:
    """standardwebhooks and svix verify the same request, with a generated secret and an own one of that shape."""
    body = b'{"a": 1}'
    for secret in (signing.generate_secret(), "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="):
        headers = _headers(body, secret)
        standardwebhooks.Webhook(secret).verify(body, headers)
        svix.Webhook(secret).verify(body, headers)
        assert verify.verify_standard(body, headers, secret)
        assert not verify.verify_standard(body + b" ", headers, secret)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(signing.generate_secret()).verify(body, headers)


def test_an_own_secret_of_another_shape_is_its_utf8_bytes_for_both() -> None:
    """So is a whsec_ text that is not base64 of 24 to 64 bytes, which earlier releases took."""
    for secret in OWN_SECRETS:
        assert verify.keys(secret) == (secret.encode(), secret.encode())


def test_a_stale_or_missing_timestamp_is_no_standard_webhook() -> None:
    """Replays are refused after the tolerance; a missing or broken header is False, never an exception."""
    headers = _headers(b"{}", OWN_SECRETS[0])
    sent = float(headers["webhook-timestamp"])
    assert verify.verify_standard(b"{}", headers, OWN_SECRETS[0], now=sent + 300)
    assert not verify.verify_standard(b"{}", headers, OWN_SECRETS[0], now=sent + 301)
    assert not verify.verify_standard(b"{}", {}, OWN_SECRETS[0])
    assert not verify.verify_standard(b"{}", {**headers, "webhook-timestamp": "soon"}, OWN_SECRETS[0])
    assert not verify.verify_almirant(b"{}", "ü", OWN_SECRETS[0])


@pytest.mark.parametrize(
    "secret", ["short", "x" * 257, "a secret with\na line break", "a secret with \x00", "\ud800" * 20]
)
def test_a_secret_that_cannot_be_used_is_refused(secret: str) -> None:
    """In a sentence, at its field."""
    with pytest.raises(Refused) as refusal:
        signing.check_secret(secret)
    assert refusal.value.field == "secret"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo", "padding"),
        ("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo= ", "blank"),
        (" whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=", "blank"),
        ("whsec_" + "QUJDREVGR0hJSktM TU5PUFFSU1RVVldYWVo=", "a character that is not of base64"),
        ("whsec_" + "_-JDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=", "another alphabet"),
        ("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVp=", "bits"),
        ("whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=QUJD", "a character that is not of base64"),
        ("whsec_" + "QUJDREVGR0hJSktM", "12 bytes"),
        ("whsec_" + "QUJD" * 22, "66 bytes"),
        ("whsec_" + "=" * 16, "padding"),
        ("a plain own secret\u2003", "blank"),
    ],
)
def test_a_secret_that_looks_like_standard_webhooks_has_to_be_one(secret: str, why: str) -> None:
    """Their libraries would verify with another key; the sentence says what is wrong with it, and never repeats it."""
    with pytest.raises(Refused, match=why) as refusal:
        signing.check_secret(secret)
    assert refusal.value.field == "secret"
    assert secret.strip().removeprefix("whsec_") not in refusal.value.message
    assert signing.check_usable(secret) == secret


def test_the_headers_are_those_of_the_contract() -> None:
    """Names, order-free values, and the number of the attempt."""
    started_at = datetime(2026, 11, 23, 9, tzinfo=UTC)
    headers = dict(
        request_headers(
            url="https://example.com/in",
            secret=OWN_SECRETS[0],
            body=b"{}",
            delivery_id="dlv_1",
            event_type="lead.created",
            number=3,
            started_at=started_at,
            test=True,
        )
    )
    assert headers.pop("webhook-signature").startswith("v1,")
    assert len(headers.pop("X-Almirant-Signature")) == 64
    assert headers == {
        "Host": "example.com",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "Almirant-Webhooks/1.0",
        "Content-Type": "application/json",
        "Content-Length": "2",
        "X-Almirant-Event": "lead.created",
        "X-Almirant-Delivery": "dlv_1",
        "X-Almirant-Timestamp": "1795424400",
        "X-Almirant-Attempt": "3",
        "X-Almirant-Test": "1",
        "webhook-id": "dlv_1",
        "webhook-timestamp": "1795424400",
    }


@given(
    body=st.binary(max_size=50),
    microseconds=st.integers(0, 2**41),
    number=st.integers(1, 99),
    test=st.booleans(),
    others=st.tuples(st.sampled_from([None, OWN_SECRETS[0]]), st.sampled_from([None, OWN_SECRETS[1]])),
)
def test_headers_are_restored_as_they_were_sent(
    body: bytes, microseconds: int, number: int, test: bool, others: tuple[str | None, str | None]
) -> None:
    """From their signatures and the attempt's own columns, and from what earlier releases wrote: all of them as JSON."""
    own: Any = {"url": "https://example.com:8443/in?a=b", "event_type": "lead.created", "delivery_id": "dlv_1"}
    started_at = datetime(2026, 11, 23, 9, tzinfo=UTC) + timedelta(microseconds=microseconds)
    own |= {"number": number, "test": test}
    made = signing.sign(
        **own, body=body, started_at=started_at, secret=OWN_SECRETS[0], next_secret=others[0], last_secret=others[1]
    )
    sent = signing.headers_of(made.head)
    for written in (made.packed, json.dumps(sent)):
        assert signing.unpack_headers(written, **own, size=len(body), started_at=clock.text(started_at)) == sent
