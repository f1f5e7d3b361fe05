"""The policy in a real network of its own: real names, real addresses, and inner services that never see a connection."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

import pytest

from almirant_webhooks.rules.urls import BLOCKED, Policy
from almirant_webhooks.sending.causes import NAME_NOT_FOUND
from almirant_webhooks.sending.resolver import OTHER_PLACES, QUICK_PLACES
from almirant_webhooks.sending.sender import Sender

from ..support.network import PUBLIC, PUBLIC_V6, in_a_network_of_its_own, names
from .test_sender import claim

PORT = 8443
EVERYWHERE = ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "fd00::1", PUBLIC, PUBLIC_V6]


class Listeners:
    """Somebody listens on every address and notes who was reached."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def start(self) -> None:
        for address in EVERYWHERE:
            await asyncio.start_server(functools.partial(self._met, address), address, PORT)

    async def _met(self, to: str, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.append(to)
        writer.close()


async def _attempts(policy: Policy, urls: list[str], listeners: Listeners, timeout: float = 5.0) -> dict[str, Any]:
    sender = Sender(policy, timeout=timeout, max_response_body=100)
    await sender.start()
    ended = {}
    for url in urls:
        before = len(listeners.reached)
        result = await sender.send(claim(url))
        ended[url] = [result.outcome.value, result.cause, sorted(set(listeners.reached[before:]))]
    await sender.close()
    return ended


async def inward() -> dict[str, Any]:
    """Names and literals that lead inward, one way or another."""
    await names(
        public_test=[PUBLIC],
        private_test=["10.0.0.1"],
        metadata_test=["169.254.169.254"],
        loop_test=["127.0.0.1", "::1"],
        both_test=["10.0.0.1", PUBLIC],
        mixed_test=["fd00::1", "::1", "127.0.0.1", "10.0.0.1", "169.254.169.254", PUBLIC],
        six_test=[PUBLIC_V6],
        alias_test="private.test",
        good_alias_test="public.test",
        mapped_test=["::ffff:10.0.0.1"],
        nat64_test=["64:ff9b::a00:1"],
    )
    listeners = Listeners()
    await listeners.start()
    hosts = ["public.test", "private.test", "metadata.test", "loop.test", "both.test", "mixed.test", "six.test"]
    hosts += ["alias.test", "good.alias.test", "mapped.test", "nat64.test", "nowhere.test", "localhost"]
    hosts += ["10.0.0.1", "169.254.169.254", "127.0.0.1", "0.0.0.0", "[::1]", "[::]", "[fd00::1]"]
    hosts += ["[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a00:1::1]", "0x7f.1", "2130706433"]
    return await _attempts(Policy(), [f"https://{host}:{PORT}/" for host in hosts], listeners)


async def rebinding() -> list[Any]:
    """A name that is public when it is asked for first, and private from then on; and one that gets mended."""
    dns = await names(turns_test=[PUBLIC], mended_test=["10.0.0.1"])
    listeners = Listeners()
    await listeners.start()
    urls = [f"https://turns.test:{PORT}/", f"https://mended.test:{PORT}/"]
    first = await _attempts(Policy(), urls, listeners)
    dns.table.update({"turns.test": ["127.0.0.1", "10.0.0.1"], "mended.test": [PUBLIC]})
    return [first, await _attempts(Policy(), urls, listeners)]


async def dead_names() -> dict[str, Any]:
    """A good name beside names that DNS never answers for, before and while all places of such names are taken."""
    await names(
        good_test=[PUBLIC], new_test=[PUBLIC], **{f"dead{number}_test": None for number in range(OTHER_PLACES + 50)}
    )
    listeners = Listeners()
    await listeners.start()
    sender = Sender(Policy(), timeout=6.0, max_response_body=100)
    await sender.start()

    async def attempt(host: str) -> str | None:
        return (await sender.send(claim(f"https://{host}:{PORT}/"))).cause

    some = [asyncio.create_task(attempt(f"dead{number}.test")) for number in range(50)]
    some += [asyncio.create_task(attempt("dead0.test")) for _ in range(50)]
    await asyncio.sleep(0)
    good, new = await attempt("good.test"), await attempt("new.test")
    all_others = [asyncio.create_task(attempt(f"dead{number}.test")) for number in range(50, OTHER_PLACES + 50)]
    await asyncio.sleep(0)
    sender.connections.forget_names()
    beside_all = await attempt("good.test")
    ended_before = sum(task.done() for task in (*some, *all_others))
    dead = [*await asyncio.gather(*some), *await asyncio.gather(*all_others)]
    await sender.close()
    return {
        "good": [good, new, beside_all],
        "ended before": ended_before,
        "dead": sorted({str(cause) for cause in dead}),
        "threads": threading.active_count(),
    }


@pytest.mark.long
def test_inner_services_never_see_a_connection() -> None:
    """Whatever led there: a name, one with public addresses beside, an alias, a literal, an IPv6 form that carries IPv4."""
    ended = in_a_network_of_its_own("tests.sending.test_network:inward")
    reached = {url.split("/")[2].removesuffix(f":{PORT}"): seen for url, (_, _, seen) in ended.items() if seen}
    for host in ("public.test", "both.test", "mixed.test", "good.alias.test"):
        assert reached.pop(host) == [PUBLIC], ended
    assert reached.pop("six.test") == [PUBLIC_V6]
    assert reached == {}
    unreached = {tuple(one[:2]) for url, one in ended.items() if not one[2]}
    assert unreached == {
        ("blocked", BLOCKED),  # the same words for all of them
        ("connection_error", NAME_NOT_FOUND),  # nowhere.test
    }


@pytest.mark.long
def test_a_name_is_judged_by_the_address_that_is_dialled() -> None:
    """Not by the one it had when it was saved or tried before; and a mistake in DNS that is mended is over."""
    before, after = in_a_network_of_its_own("tests.sending.test_network:rebinding")
    turns, mended = f"https://turns.test:{PORT}/", f"https://mended.test:{PORT}/"
    assert before[turns][2] == [PUBLIC]
    assert after[turns] == ["blocked", BLOCKED, []]
    assert before[mended] == ["blocked", BLOCKED, []]
    assert after[mended][2] == [PUBLIC]


@pytest.mark.long
def test_names_that_never_answer_delay_no_other() -> None:
    """A hundred waits for fifty of them delay no name; when there are more than places, only names new or slow as they."""
    ended = in_a_network_of_its_own("tests.sending.test_network:dead_names")  # though threads hang, its process ends
    assert ended["good"] == ["connection reset"] * 3
    assert ended["ended before"] == 0
    assert ended["dead"] == ["no answer from DNS within 6 s"]
    assert 1 < ended["threads"] <= OTHER_PLACES + QUICK_PLACES + 1
