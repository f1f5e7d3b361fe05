"""Who comes in: tokens, links and sessions, host names and other sites."""

from __future__ import annotations

import asyncio
import stat

import aiohttp
import pytest

from almirant_webhooks import access, keys
from almirant_webhooks.access import Principal, Role
from almirant_webhooks.web.guard import COOKIE, host_is_ours
from almirant_webhooks.web.limits import MOST_FROM_ALL, MOST_FROM_ONE, WINDOW, Failures

from .service import Service

KEY = b"k" * 32


@pytest.fixture
async def pages(service: Service) -> Service:
    """A daemon that serves its pages on a free port."""
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    await service.start()
    return service


def test_a_signed_text_is_good_for_its_purpose_its_key_and_its_time_alone() -> None:
    """Whoever changes a letter of it has nothing."""
    who = Principal(Role.PROJECT_ADMIN, "proj_1", 1000)
    text = access.issue(KEY, access.LINK, who)
    assert access.read(KEY, access.LINK, text, 999) == who
    assert access.read(KEY, access.LINK, text, 1000) is None
    assert access.read(KEY, access.SESSION, text, 999) is None
    assert access.read(b"x" * 32, access.LINK, text, 999) is None
    for at in range(len(text)):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        assert access.read(KEY, access.LINK, changed, 999) is None
    for odd in ("", ".", "a.b", "é.é", text + "x", text.partition(".")[0]):
        assert access.read(KEY, access.LINK, odd, 999) is None


def test_the_file_of_keys_is_its_owners_alone_and_a_rotation_ends_what_was_signed(service: Service) -> None:
    """A daemon that runs notices; a configured token stands in for the generated one and changes the key."""
    service.migrate()
    assert keys.ensure(service.database)
    assert not keys.ensure(service.database)
    assert stat.S_IMODE(keys.path_of(service.database).stat().st_mode) == 0o600
    own = keys.Keys(service.settings())
    token, signing_key = own.token, own.signing_key
    keys.rotate(service.database)
    assert own.token != token
    assert own.signing_key != signing_key
    service.options["admin"] = {"token": "a configured token"}
    configured = keys.Keys(service.settings())
    assert configured.token == "a configured token"
    assert configured.signing_key != own.signing_key


def test_wrong_tokens_are_taken_ten_a_minute_from_one_address_and_a_hundred_from_all() -> None:
    """Others are not shut out by one, and after a minute all is forgotten."""
    failures = Failures()
    for _ in range(MOST_FROM_ONE):
        assert failures.wait("a", 0.0) == 0
        failures.note("a", 0.0)
    assert failures.wait("a", 1.0) == WINDOW
    assert failures.wait("b", 1.0) == 0
    for number in range(MOST_FROM_ALL):
        failures.note(str(number), 2.0)
    assert failures.wait("b", 3.0) > 0
    assert failures.wait("a", 2.0 + WINDOW) == 0


async def test_health_is_open_and_the_rest_is_known_by_its_own_names(pages: Service) -> None:
    """A name that somebody else's DNS leads here is refused (rebinding)."""
    assert pages.daemon is not None
    assert pages.daemon.address is not None
    port = pages.daemon.address[1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            async with client.get(path, headers={"Host": "balancer.example"}) as answer:
                assert answer.status == 200
                assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        for host, status in ((f"localhost:{port}", 404), (f"evil.example:{port}", 421), ("127.0.0.1:1", 421)):
            async with client.get("/api/v1/nothing", headers={"Host": host}) as answer:
                assert answer.status == status, host
                assert answer.content_type == "application/problem+json"


async def test_a_wrong_token_and_a_changed_cookie_open_nothing(pages: Service) -> None:
    """401 for a token; a cookie that was changed is no cookie."""
    assert pages.daemon is not None
    assert pages.daemon.address is not None
    async with aiohttp.ClientSession(f"http://127.0.0.1:{pages.daemon.address[1]}") as client:
        for _ in range(MOST_FROM_ONE):
            async with client.get("/api/v1/nothing", headers={"Authorization": "Bearer wrong"}) as answer:
                assert answer.status == 401
        async with client.get("/api/v1/nothing", headers={"Authorization": "Bearer wrong"}) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) > 0
        async with client.get("/api/v1/nothing", headers={"Cookie": f"{COOKIE}=changed.cookie"}) as answer:
            assert answer.status == 404


async def test_guesses_at_once_are_counted_and_shut_out_nobody_who_was_in(pages: Service) -> None:
    """From behind one proxy all have one address; what was good before is taken all the same."""
    assert pages.daemon is not None
    assert pages.daemon.address is not None
    good = {"Authorization": f"Bearer {keys.Keys(pages.settings()).token}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{pages.daemon.address[1]}") as client:

        async def ask(headers: dict[str, str]) -> int:
            async with client.get("/api/v1/whoami", headers=headers) as answer:
                return answer.status

        assert await ask(good) == 200
        guesses = [ask({"Authorization": f"Bearer {number}"}) for number in range(3 * MOST_FROM_ONE)]
        assert (await asyncio.gather(*guesses)).count(401) == MOST_FROM_ONE
        assert await ask(good) == 200
        keys.rotate(pages.database)
        assert await ask(good) == 429


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"token=\xff"),
        ("application/x-www-form-urlencoded; charset=odd", b"token=a"),
        ("multipart/form-data; boundary=x", b"--y\r\n"),
        ("multipart/form-data", b"--y\r\n"),
    ],
)
async def test_a_form_that_no_browser_sends_is_refused(pages: Service, kind: str, body: bytes) -> None:
    """400, and no traceback that anybody could fill the log with."""
    assert pages.daemon is not None
    assert pages.daemon.address is not None
    address = f"http://127.0.0.1:{pages.daemon.address[1]}/sign-in"
    async with (
        aiohttp.ClientSession() as client,
        client.post(address, data=body, headers={"Content-Type": kind}) as answer,
    ):
        assert answer.status == 400


@pytest.mark.parametrize(
    ("listen", "public_url", "host", "ours"),
    [
        ("127.0.0.1:8420", "", "127.0.0.1:8420", True),
        ("127.0.0.1:8420", "", "localhost:8420", True),
        ("127.0.0.1:8420", "", "[::1]:8420", True),
        ("127.0.0.1:8420", "", "localhost", False),
        ("127.0.0.1:8420", "", "evil.example:8420", False),
        ("127.0.0.1:8420", "", "10.0.0.1:8420", False),
        ("127.0.0.1:8420", "https://hooks.example", "hooks.example", True),
        ("127.0.0.1:8420", "https://hooks.example", "Hooks.Example", True),
        ("127.0.0.1:8420", "https://hooks.example", "hooks.example.evil", False),
        ("0.0.0.0:8420", "", "10.0.0.1:8420", True),
        ("0.0.0.0:8420", "", "evil.example:8420", False),
        ("10.0.0.1:8420", "", "localhost:8420", False),
        ("127.0.0.1:8420", "", "", False),
        ("127.0.0.1:8420", "", "[::1", False),
    ],
)
def test_a_host_is_ours_by_admin_listen_or_admin_public_url(
    service: Service, listen: str, public_url: str, host: str, ours: bool
) -> None:
    """And by nothing else; on a wildcard any address of the machine will do, since no name is rebound to it."""
    service.options["admin"] = {"listen": listen, "public_url": public_url, "token": "t" * 20}
    settings = service.settings()

    class Here:
        def __init__(self) -> None:
            self.settings = settings

        def address(self) -> tuple[str, int] | None:
            return settings.admin.listen

    assert host_is_ours(host, Here()) is ours  # type: ignore[arg-type]
