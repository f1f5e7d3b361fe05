"""Who comes in: tokens, links and sessions, host names and other sites."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from almirant_webhooks.ops import keys
from almirant_webhooks.rules import links
from almirant_webhooks.rules.links import PortalLink
from almirant_webhooks.rules.selection import AuditSelection
from almirant_webhooks.storage import worker
from almirant_webhooks.storage.sql import audit
from almirant_webhooks.storage.sql.sealed import NEXT_SECRET, SECRET
from almirant_webhooks.storage.sql.session import Session
from almirant_webhooks.storage.sqlite import connection
from almirant_webhooks.web import context as web_context
from almirant_webhooks.web import limits as web_limits
from almirant_webhooks.web.address import host_is_ours
from almirant_webhooks.web.context import Context
from almirant_webhooks.web.limits import MOST_FROM_ALL, MOST_FROM_ONE, WINDOW, Failures
from almirant_webhooks.web.sessions import COOKIE

from ..support.service import Service

KEY = b"k" * 32


@pytest.fixture
async def pages(service: Service) -> Service:
    """A daemon that serves its pages on a free port."""
    service.options["admin"] = {"listen": "127.0.0.1:0"}
    await service.start()
    return service


def test_a_link_is_good_by_its_key_and_for_its_time_alone() -> None:
    """Whoever changes a letter of it has nothing."""
    link = PortalLink("proj_1", 1000, "maría", True, "/deliveries?state=failed")
    text = links.issue(KEY, link)
    assert links.read(KEY, text, 999) == link
    assert links.read(KEY, text, 1000) is None
    assert links.read(b"x" * 32, text, 999) is None
    for at in range(len(text)):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        assert links.read(KEY, changed, 999) is None
    for odd in ("", ".", "a.b", "é.é", text + "x", text + "=", text.partition(".")[0]):
        assert links.read(KEY, odd, 999) is None


@pytest.mark.sqlite
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


@pytest.mark.sqlite
def test_of_two_processes_that_make_the_keys_at_once_one_does(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other goes on with what is there, and leaves no file behind."""
    service.migrate()
    monkeypatch.setattr(Path, "exists", lambda path: False)  # both have looked before either wrote
    assert keys.ensure(service.database)
    made = keys.path_of(service.database).read_text()
    assert not keys.ensure(service.database)
    assert keys.path_of(service.database).read_text() == made
    assert keys.path_of(service.database).stat().st_nlink == 1
    assert len(list(service.database.parent.glob("*.keys*"))) == 1


def test_a_configured_token_has_at_least_sixteen_characters(service: Service) -> None:
    """A short one can be guessed; the message does not repeat it."""
    service.options["admin"] = {"token": "hunter2-hunter2"}
    with pytest.raises(ValueError, match="at least 16 characters") as refusal:
        service.settings()
    assert "hunter2" not in str(refusal.value)
    for token in ("", " " * 20, "t" * 16):
        service.options["admin"] = {"token": token}
        assert service.settings().admin.token == token.strip()


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
        async with client.get("/webhooks", headers={"Host": f"evil.example:{port}"}) as answer:
            before, _, behind = (await answer.text()).partition("<details>")
            assert (answer.status, "not known here" in before) == (421, True)
            assert ("admin." in before, "admin.hosts" in behind) == (False, True)
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
    good = {"Authorization": f"Bearer {pages.keys().token}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{pages.daemon.address[1]}") as client:

        async def ask(headers: dict[str, str]) -> int:
            async with client.get("/api/v1/whoami", headers=headers) as answer:
                return answer.status

        assert await ask(good) == 200
        guesses = [ask({"Authorization": f"Bearer {number}"}) for number in range(3 * MOST_FROM_ONE)]
        assert (await asyncio.gather(*guesses)).count(401) == MOST_FROM_ONE
        assert await ask(good) == 200
        await pages.rotate_token()
        assert await ask(good) == 429


async def test_behind_a_proxy_on_this_machine_wrong_tokens_are_counted_by_the_address_that_it_saw(
    service: Service,
) -> None:
    """Which is the last one of the header: what comes before it was sent by the caller. Without a public URL it is not read."""
    for public_url, others in (("https://hooks.example", 401), ("", 429)):
        service.options["admin"] = {"listen": "127.0.0.1:0", "public_url": public_url}
        daemon = await service.start()
        assert daemon.address is not None
        async with aiohttp.ClientSession(f"http://127.0.0.1:{daemon.address[1]}") as client:

            async def ask(forwarded: str, client: aiohttp.ClientSession = client) -> int:
                sent = {"Authorization": "Bearer wrong", "X-Forwarded-For": forwarded}
                async with client.get("/api/v1/whoami", headers=sent) as answer:
                    return answer.status

            for number in range(MOST_FROM_ONE):
                assert await ask(f"10.0.0.{number}, 192.0.2.1") == 401
            assert await ask("10.0.0.99, 192.0.2.1") == 429
            assert await ask("192.0.2.2") == others
            assert await ask("192.0.2.1, not an address") == others
        await service.stop()


class Line:
    """The requests that have come to where they write, and for how long each transaction would wait for a lock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.length = 0
        self.waits: list[float] = []
        writing: set[asyncio.Task[Any] | None] = set()
        write, write_outbox = Context.write, Context.write_outbox
        in_turn, retry = worker.Worker.run_in_turn, connection.retry_while_busy

        def note_write(of: Context, *args: Any, **kwargs: Any) -> Any:
            writing.add(asyncio.current_task())
            return write(of, *args, **kwargs)

        def note_write_outbox(of: Context, *args: Any, **kwargs: Any) -> Any:
            writing.add(asyncio.current_task())
            return write_outbox(of, *args, **kwargs)

        def note_turn(of: worker.Worker, *args: Any, **kwargs: Any) -> Any:
            self.length += asyncio.current_task() in writing
            return in_turn(of, *args, **kwargs)

        def note_wait(call: Any, wait: float = connection.WAIT) -> Any:
            self.waits.append(wait)
            return retry(call, wait)

        monkeypatch.setattr(Context, "write", note_write)
        monkeypatch.setattr(Context, "write_outbox", note_write_outbox)
        monkeypatch.setattr(worker.Worker, "run_in_turn", note_turn)
        monkeypatch.setattr(connection, "retry_while_busy", note_wait)


@pytest.mark.sqlite
async def test_writes_that_wait_for_a_lock_answer_together(pages: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits from when it came, its place in the line included: the thread that records deliveries is soon free."""
    monkeypatch.setattr(web_context, "PATIENCE", 0.1)
    assert pages.daemon is not None
    assert pages.daemon.address is not None
    good = {"Authorization": f"Bearer {pages.keys().token}"}
    webhook = pages.webhook("https://example.com/in")
    await pages.until_upkeep_rests()
    line = Line(monkeypatch)
    conn = sqlite3.connect(pages.database, isolation_level=None)
    conn.execute("BEGIN IMMEDIATE")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{pages.daemon.address[1]}", headers=good) as client:

        async def disable() -> int:
            async with client.post(f"/api/v1/webhooks/{webhook.id}/disable") as answer:
                return answer.status

        async def send() -> int:
            event = {"project_id": "proj_1", "event_type": "work_item.created", "payload": {}}
            async with client.post("/api/v1/events", json=event) as answer:
                return answer.status

        with pages.daemon.storage.database.lock:  # type: ignore[attr-defined]  # the first in the line
            asking = asyncio.gather(*(disable() for _ in range(8)), *(send() for _ in range(8)))
            await pages.until(lambda: line.length == 16)
            came_until = time.monotonic()
            await pages.until(lambda: time.monotonic() > came_until + web_context.PATIENCE)
        assert await asking == [503] * 16
        assert line.waits.count(0.0) == 16
        conn.execute("ROLLBACK")
        monkeypatch.setattr(web_context, "PATIENCE", 60.0)
        assert (await disable(), await send()) == (200, 202)
    conn.close()


async def test_a_body_that_does_not_come_is_not_waited_for(pages: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a form that anybody may send, and by the API; the connection is closed."""
    monkeypatch.setattr(web_limits, "BODY_TIME", 0.1)
    assert pages.daemon is not None
    assert pages.daemon.address is not None
    host, port = pages.daemon.address
    token = pages.keys().token
    for path, kind in (("/sign-in", "application/x-www-form-urlencoded"), ("/api/v1/webhooks", "application/json")):
        reader, writer = await asyncio.open_connection(host, port)
        head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n"
        head += f"Authorization: Bearer {token}\r\n" if path.startswith("/api") else ""
        writer.write(f"{head}\r\ntoken=".encode())
        async with asyncio.timeout(20):
            assert b" 408 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


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
        ("127.0.0.1:8420", "https://hooks.example", "hooks.example:443", True),
        ("127.0.0.1:8420", "https://hooks.example:443", "hooks.example", True),
        ("127.0.0.1:8420", "https://hooks.example", "hooks.example:80", False),
        ("127.0.0.1:8420", "https://hooks.example", "hooks.example:8443", False),
        ("127.0.0.1:8420", "http://hooks.example", "hooks.example:80", True),
        ("127.0.0.1:8420", "https://hooks.example:8443", "hooks.example:8443", True),
        ("127.0.0.1:8420", "https://hooks.example:8443", "hooks.example", False),
        ("127.0.0.1:8420", "https://hooks.example/below", "hooks.example", True),
        ("127.0.0.1:8420", "https://hooks.example", "evil@hooks.example", False),
        ("127.0.0.1:8420", "https://hooks.example", "hooks.example:443/", False),
        ("127.0.0.1:8420", "https://hooks.example", "hooks.example:443:443", False),
        ("127.0.0.1:8420", "https://[2001:db8::1]", "[2001:db8::1]:443", True),
        ("127.0.0.1:8420", "", "almirant:8420", True),
        ("127.0.0.1:8420", "", "Almirant", True),
        ("127.0.0.1:8420", "", "almirant:1", True),
        ("127.0.0.1:8420", "", "[2001:db8::2]:8420", True),
        ("127.0.0.1:8420", "", "almirant.evil", False),
        ("127.0.0.1:8420", "", "evil@almirant:8420", False),
        ("0.0.0.0:8420", "", "10.0.0.1:8420", True),
        ("0.0.0.0:8420", "", "evil.example:8420", False),
        ("10.0.0.1:8420", "", "localhost:8420", False),
        ("127.0.0.1:8420", "", "", False),
        ("127.0.0.1:8420", "", "[::1", False),
    ],
)
def test_a_host_is_ours_by_admin_listen_admin_public_url_or_admin_hosts(
    service: Service, listen: str, public_url: str, host: str, ours: bool
) -> None:
    """And by nothing else; on a wildcard any address of the machine will do, since no name is rebound to it."""
    hosts = ["ALMIRANT", "[2001:db8::2]"]
    service.options["admin"] = {"listen": listen, "public_url": public_url, "hosts": hosts, "token": "t" * 20}
    settings = service.settings()

    class Here:
        def __init__(self) -> None:
            self.settings = settings

        def address(self) -> tuple[str, int] | None:
            return settings.admin.listen

    assert host_is_ours(host, Here()) is ours  # type: ignore[arg-type]


def _newest_secret(conn: Session, webhook_id: str) -> str:
    secret, following = conn.execute("SELECT secret, next_secret FROM webhooks").fetchone()
    return conn.seals.open(following or secret, webhook_id, NEXT_SECRET if following else SECRET)


async def test_a_new_secret_is_shown_once_to_the_session_that_made_it(service: Service) -> None:
    """Not to another admin who looks first; who has seen it is in the audit trail."""
    service.options["admin"] = {"listen": "127.0.0.1:0", "token": "t" * 40}
    daemon = await service.start()
    assert daemon.address is not None
    address = f"http://127.0.0.1:{daemon.address[1]}"
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.DummyCookieJar()) as client:

        async def sign_in() -> dict[str, str]:
            async with client.post("/sign-in", data={"token": "t" * 40}, allow_redirects=False) as answer:
                return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}

        async def see(path: str, who: dict[str, str], **headers: str) -> str:
            async with client.get(path, headers=who | headers) as answer:
                assert answer.status == 200
                return await answer.text()

        creator, other = await sign_in(), await sign_in()
        assert creator != other  # within the same second
        form = {"project_id": "proj_1", "url": "https://example.com/in", "events": "*"}
        async with client.post("/webhooks", data=form, headers=creator, allow_redirects=False) as answer:
            page = answer.headers["Location"]
        webhook = page.rpartition("/")[2]
        for rotated in (False, True):
            if rotated:
                async with client.post(f"{page}/rotate-secret", data={"switch_after": "24h"}, headers=creator, allow_redirects=False) as answer:  # fmt: skip
                    assert answer.status == 303
            before = len(service.read(audit.entries, AuditSelection(action="secret.revealed")))
            assert "whsec_" not in await see(page, other)
            assert "whsec_" not in await see(page, creator, **{"X-Live": "1"})  # another tab of theirs
            async with client.head(page, headers=creator) as answer:
                assert answer.status == 200
            assert len(service.read(audit.entries, AuditSelection(action="secret.revealed"))) == before
            assert service.read(_newest_secret, webhook) in await see(page, creator)
            assert "whsec_" not in await see(page, creator)
            entries = service.read(audit.entries, AuditSelection(action="secret.revealed"))
            assert (len(entries), entries[0]["webhook_id"], entries[0]["actor"]) == (before + 1, webhook, "operator")


async def test_a_further_name_opens_the_pages_inside_a_network(service: Service) -> None:
    """By plain HTTP and any port beside a public address by TLS: forms are taken, and the cookie is one that a browser keeps."""
    service.options["admin"] = {
        "listen": "127.0.0.1:0", "token": "t" * 40, "public_url": "https://hooks.example/below", "hosts": ["almirant"],
    }  # fmt: skip
    daemon = await service.start()
    assert daemon.address is not None
    port = daemon.address[1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=aiohttp.DummyCookieJar()) as client:
        for host, origin, status, secure, path in (
            ("almirant:8420", "http://almirant:8420", 303, False, "/"),
            ("almirant", "http://almirant:80", 303, False, "/"),
            ("hooks.example", "https://hooks.example", 303, True, "/below"),
            ("hooks.example:443", "https://hooks.example", 303, True, "/below"),
            ("hooks.example", "https://hooks.example:443", 303, True, "/below"),
            (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}", 303, True, "/"),
            ("hooks.example:443", "http://hooks.example", 403, None, ""),
            ("hooks.example", "https://hooks.example:8443", 403, None, ""),
            ("hooks.example", "https://evil.example", 403, None, ""),
            ("hooks.example", "null", 403, None, ""),
            ("almirant.evil", "http://almirant.evil", 421, None, ""),
        ):
            form = {"token": "t" * 40, "next": "/audit"}
            about = (host, origin)
            async with client.post(
                "/sign-in", data=form, headers={"Host": host, "Origin": origin}, allow_redirects=False
            ) as answer:
                assert answer.status == status, about
                if status != 303:
                    continue
                cookie = answer.headers["Set-Cookie"]
                assert ("Secure" in cookie) is secure, about
                assert f"Path={path};" in f"{cookie};", about
                assert answer.headers["Location"] == f"{path}/audit".replace("//", "/"), about
