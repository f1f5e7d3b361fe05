"""`listen`, `sign` and `verify`: what the author of a receiver needs; none of them reads a configuration."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from typing import IO, TYPE_CHECKING

import click

from ..model import Refused
from ..rules import signing
from ..verify import verify_almirant, verify_standard
from .options import as_json as json_option
from .output import safe, say

if TYPE_CHECKING:
    from ..receiver import Arrival

_BODY = click.argument("body", type=click.File("rb"), default="-", metavar="[FILE|-]")
_SECRET = click.option("--secret", envvar="WEBHOOK_SECRET", help="The webhook's secret [or $WEBHOOK_SECRET].")


def _secret(text: str | None) -> str:
    if text is None:
        raise click.UsageError("Give --secret, or set WEBHOOK_SECRET.")
    return _known(text)


def _known(text: str) -> str:
    """Take the secret that a webhook has, which may be older than a rule, and say what a new one would be refused for."""
    signing.check_usable(text)
    try:
        signing.check_secret(text)
    except Refused as refused:
        say(f"note: {refused.message}")
    return text


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8421, show_default=True, help="0 for a free one.")
@_SECRET
@json_option
def listen(port: int, secret: str | None, as_json: bool) -> None:
    """Run a local receiver that verifies signatures and prints what arrives, until Ctrl-C.

    \b
    Example:
      almirant-webhooks listen --port 8421 --secret "$WEBHOOK_SECRET"
    """
    if secret is not None:
        _known(secret)
    asyncio.run(_listen(port, secret, as_json=as_json))


async def _listen(port: int, secret: str | None, *, as_json: bool) -> None:
    from ..receiver import Receiver

    unwritten: list[OSError] = []

    def show(arrival: Arrival) -> None:
        try:
            _print(arrival, as_json=as_json)
        except OSError as error:
            unwritten.append(error)
            ended.set()

    ended = asyncio.Event()
    receiver = Receiver(secret=secret, port=port, on_arrival=show)
    await receiver.start()
    say(f"Listening on {receiver.url} (needs egress.allow_localhost); Ctrl-C ends it.")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with contextlib.suppress(asyncio.CancelledError):
        await ended.wait()
    await receiver.stop()
    if unwritten:
        raise unwritten[0]


def _print(arrival: Arrival, *, as_json: bool) -> None:
    if as_json:
        fields = {"status": arrival.status, "almirant": arrival.almirant, "standard": arrival.standard}
        body = arrival.body.decode("utf-8", "backslashreplace")
        click.echo(json.dumps({**fields, "headers": arrival.headers, "body": body}))
        return
    words = {None: "not checked", True: "right", False: "WRONG"}
    event, delivery = (arrival.headers.get(f"X-Almirant-{name}", "?") for name in ("Event", "Delivery"))
    attempt = arrival.headers.get("X-Almirant-Attempt", "?")
    click.echo(f"{safe(event)}  {safe(delivery)}  attempt {safe(attempt)}  signature {words[arrival.almirant]}")
    click.echo(f"  {safe(arrival.body.decode('utf-8', 'backslashreplace'))}")


@click.command()
@_SECRET
@click.option("--id", "delivery_id", default="dlv_example", show_default=True, help="The delivery id of webhook-id.")
@click.option("--timestamp", type=int, help="Unix seconds [default: now].")
@json_option
@_BODY
def sign(secret: str | None, delivery_id: str, timestamp: int | None, as_json: bool, body: IO[bytes]) -> None:
    """Print the signature headers of a body, exactly as a receiver would get them.

    \b
    Example:
      printf '{"id": 1}' | almirant-webhooks sign --secret "$WEBHOOK_SECRET"
    """
    key, content = _secret(secret), body.read()
    seconds = int(time.time()) if timestamp is None else timestamp
    headers = {
        "X-Almirant-Signature": signing.signature(content, key),
        "webhook-id": delivery_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": signing.standard_signature(content, key, delivery_id, seconds),
    }
    click.echo(json.dumps(headers) if as_json else "\n".join(f"{name}: {value}" for name, value in headers.items()))


@click.command()
@_SECRET
@click.option("--signature", help="The whole value of X-Almirant-Signature.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of the request. Repeatable."
)
@_BODY
def verify(secret: str | None, signature: str | None, headers: tuple[str, ...], body: IO[bytes]) -> None:
    """Check a body's signature: exit 0 if it is right, 1 with a sentence if it is not.

    Every signature that is given is checked, X-Almirant-Signature and webhook-signature alike; a timestamp may be of
    any age.
    """
    key, content = _secret(secret), body.read()
    headers_by_name = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in headers)
    }
    signature = signature or headers_by_name.get("x-almirant-signature")
    if signature is None and "webhook-signature" not in headers_by_name:
        raise click.UsageError("Give --signature, or --header 'X-Almirant-Signature: …' or the webhook-… headers.")
    if signature is not None and not verify_almirant(content, signature.strip(), key):
        raise Refused(
            "X-Almirant-Signature is wrong: another secret, or a body that is not byte for byte what was sent."
        )
    if "webhook-signature" in headers_by_name and not verify_standard(content, headers_by_name, key, tolerance=None):
        raise Refused("webhook-signature is wrong: another secret, body, webhook-id or webhook-timestamp.")
    say("The signature is right.")
