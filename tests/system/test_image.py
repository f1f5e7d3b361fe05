"""The container image as it is built, run, stopped and killed; and the services of compose.yaml and the pods of Kubernetes in it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest
import yaml
from aiohttp import web

from almirant_webhooks.client import Client

from ..conftest import Receiver
from ..support import needs
from ..support.ports import free_port
from ..support.postgres import Server, new_database
from .container import HERE
from .image import DATA, TOOLS, UID, Image, Running, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOKEN = "t" * 40
LISTEN = "ALMIRANT_WEBHOOKS_ADMIN__LISTEN"
LOCALHOST = {"ALMIRANT_WEBHOOKS_EGRESS__ALLOW_LOCALHOST": "true"}  # where a test's receiver is
INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')"
Start = Callable[..., Running]


@pytest.fixture(scope="module")
def image(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, built once."""
    for tool in TOOLS:
        needs.program(tool)
    made = Image(tmp_path_factory.mktemp("image"))
    made.build(debian)
    return made


@pytest.fixture
def start(image: Image, tmp_path: Path) -> Iterator[Start]:
    """Runs the image; what still runs at the end of the test is killed."""
    running: list[Running] = []

    def start_one(*words: str, environment: Mapping[str, str], folders: Mapping[str, Path]) -> Running:
        log = tmp_path / f"log-{len(running)}"
        running.append(Running(image, log, words, environment=environment, folders=folders))
        return running[-1]

    yield start_one
    for process in running:
        process.kill()


def status(port: int, path: str) -> int:
    """The status of a page, 0 where nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def shares(daemon: Running) -> list[str]:
    """How many of the buckets each daemon owns."""
    stats = daemon.ask(["almirant-webhooks", "stats", "--json"])
    assert stats.returncode == 0, stats.stderr
    return re.findall(r"owns (\d+ of \d+) buckets", " ".join(json.loads(stats.stdout)["daemons"].values()))


def secrets(folder: Path, owner: int, group: int, mode: int, **files: str) -> Path:
    """Write secrets as an engine gives them: a file each, named as its key."""
    folder.mkdir()
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.write_text(text)
        path.chmod(mode)
        os.chown(path, owner, group)
    return folder


def data(tmp_path: Path) -> Path:
    """A new volume for the data."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o750)
    os.chown(folder, UID, UID)
    return folder


def test_it_says_how_it_is_run(image: Image) -> None:
    """As a user by number, without a shell around it, stopped by SIGTERM; its data are in a volume, and it has no pip."""
    config = image.config
    assert (config["User"], config["StopSignal"], config["WorkingDir"]) == (f"{UID}:{UID}", "SIGTERM", DATA)
    assert (config["Entrypoint"], config["Cmd"]) == (["almirant-webhooks"], ["serve", "--migrate"])
    assert (list(config["Volumes"]), list(config["ExposedPorts"])) == ([DATA], ["8420/tcp"])
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    assert not list((image.root / "opt" / "almirant-webhooks").glob("**/site-packages/pip"))
    assert (image.root / DATA[1:]).stat().st_uid == UID
    assert "PIP_" not in "".join(config["Env"])


async def test_it_delivers_with_nothing_to_write_to_but_its_volume(
    start: Start, receiver: Receiver, tmp_path: Path
) -> None:
    """As process 1, without any right of root's; what is in flight ends at SIGTERM, and the next one has it in its log."""
    port, volume = free_port(), data(tmp_path)
    environment = {LISTEN: f"127.0.0.1:{port}", **LOCALHOST}
    folders = {DATA: volume, "/run/secrets": secrets(tmp_path / "secrets", UID, UID, 0o400, admin__token=TOKEN)}
    daemon = start(environment=environment, folders=folders)
    until(lambda: status(port, "/readyz") == 200)
    about = Path(f"/proc/{daemon.pid()}/status").read_text()
    assert re.search(rf"^Uid:\t{UID}\t{UID}\t{UID}\t{UID}$", about, re.MULTILINE)
    assert re.search(r"^NSpid:\t\d+\t1$", about, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", about, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", about, re.MULTILINE)
    assert "Read-only" in daemon.ask(["sh", "-c", "echo > /opt/almirant-webhooks/new"]).stderr

    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        return web.Response()

    receiver.answer = answer
    client = Client(f"http://127.0.0.1:{port}", TOKEN)
    await asyncio.to_thread(client.create_webhook, receiver.url, ["*"], project_id="proj_1")
    await asyncio.to_thread(client.send_event, "lead.created", {}, project_id="proj_1")
    await begun.wait()
    assert daemon.ask(["almirant-webhooks", "stats"]).returncode == 0
    stopping = asyncio.create_task(asyncio.to_thread(daemon.stop))
    await asyncio.to_thread(until, lambda: status(port, "/readyz") != 200)
    go_on.set()
    assert await stopping == 0, daemon.output
    daemon = start(environment=environment, folders=folders)
    await asyncio.to_thread(until, lambda: status(port, "/readyz") == 200)
    (delivery,) = await asyncio.to_thread(lambda: list(client.list_deliveries()))
    assert (delivery["state"], delivery["attempts"]) == ("succeeded", 1)
    assert len(receiver.requests) == 1
    assert await asyncio.to_thread(daemon.stop) == 0


def test_its_healthcheck_tells_a_daemon_from_none(start: Start, image: Image, tmp_path: Path) -> None:
    """It asks the port of the image, whatever proxy the environment names."""
    words: Sequence[str] = image.config["Healthcheck"]["Test"][1:]
    environment = {LISTEN: "127.0.0.1:8420", "http_proxy": "http://127.0.0.1:1"}
    daemon = start(environment=environment, folders={DATA: data(tmp_path)})
    until(lambda: status(8420, "/readyz") == 200)
    assert daemon.ask(words).returncode == 0, daemon.output
    assert daemon.ask([word.replace("8420", str(free_port())) for word in words]).returncode == 1


def test_what_a_restart_cannot_mend_is_said_and_ends_it(start: Start, tmp_path: Path) -> None:
    """Exit code 78: open to others without a token; a volume that belongs to somebody else."""
    daemon = start(environment={LISTEN: "0.0.0.0:8420"}, folders={DATA: data(tmp_path)})
    assert daemon.process.wait(30) == 78
    assert "no admin.token is configured" in daemon.output
    foreign = tmp_path / "foreign"
    foreign.mkdir(mode=0o755)
    daemon = start(environment={}, folders={DATA: foreign})
    assert daemon.process.wait(30) == 78
    assert "Traceback" not in daemon.output


@pytest.fixture
def url() -> Iterator[str]:
    """A new database, on a server whose socket every user may reach."""
    its_server = Server()
    its_server.folder.chmod(0o755)
    yield new_database(with_outbox=False, its_server=its_server).url
    its_server.remove()


async def test_the_services_of_compose_deliver_and_take_over(
    start: Start, url: str, receiver: Receiver, tmp_path: Path
) -> None:
    """`migrate`, then both daemons, each with the file's environment and secrets; one of them is killed, and an event arrives."""
    services = yaml.safe_load((HERE / "deploy" / "compose.yaml").read_text())["services"]
    key = f"k1 {'A' * 43}=\n"
    files = secrets(
        tmp_path / "secrets", UID, UID, 0o400, database__url=url, secrets__key_file=key, admin__token=f"{TOKEN}\n"
    )
    socket = Path(re.findall(r"host=([^&]+)", url)[0].replace("%2F", "/"))
    folders = {"/run/secrets": files, str(socket): socket}
    ports = {name: free_port() for name in ("daemon-1", "daemon-2")}

    def start_service(name: str) -> Running:
        service = services[name]
        listen = {LISTEN: f"127.0.0.1:{ports[name]}"} if name in ports else {}
        return start(
            *service["command"], environment={**service["environment"], **LOCALHOST, **listen}, folders=folders
        )

    migrate = start_service("migrate")
    assert await asyncio.to_thread(migrate.process.wait, 60) == 0, migrate.output
    assert "token" not in migrate.output  # it is the configured one
    daemons = {"daemon-1": start_service("daemon-1")}
    await asyncio.to_thread(until, lambda: status(ports["daemon-1"], "/readyz") == 200)
    daemons["daemon-2"] = start_service("daemon-2")
    await asyncio.to_thread(until, lambda: status(ports["daemon-2"], "/readyz") == 200)
    client = Client(f"http://127.0.0.1:{ports['daemon-1']}", TOKEN)
    await asyncio.to_thread(client.create_webhook, receiver.url, ["*"], project_id="proj_1")
    await asyncio.to_thread(client.send_event, "lead.created", {}, project_id="proj_1")
    await asyncio.to_thread(until, lambda: len(receiver.requests) == 1)
    await asyncio.to_thread(until, lambda: shares(daemons["daemon-1"]) == ["32 of 64", "32 of 64"])
    daemons["daemon-1"].kill()
    with psycopg.connect(url) as conn:
        conn.execute("SET search_path = almirant_webhooks")
        conn.execute(INSERT)
    await asyncio.to_thread(until, lambda: len(receiver.requests) == 2)
    await asyncio.to_thread(until, lambda: status(ports["daemon-2"], "/readyz") == 200)
    assert await asyncio.to_thread(daemons["daemon-2"].stop) == 0, daemons["daemon-2"].output


def test_a_pod_reads_its_secrets_by_its_group(start: Start, url: str, tmp_path: Path) -> None:
    """Files of root's that belong to the pod's group, behind links, as Kubernetes mounts them."""
    documents = yaml.safe_load_all((HERE / "deploy" / "kubernetes.yaml").read_text())
    (pod,) = [document["spec"]["template"]["spec"] for document in documents if document["kind"] == "Deployment"]
    (container,) = pod["containers"]
    (mount,) = container["volumeMounts"]
    (volume,) = pod["volumes"]
    mode, group = volume["secret"]["defaultMode"], pod["securityContext"]["fsGroup"]
    key = f"k1 {'A' * 43}=\n"
    inner = secrets(tmp_path / "inner", 0, group, mode, database__url=url, secrets__key_file=key, admin__token=TOKEN)
    folder = tmp_path / "secrets"
    folder.mkdir()
    shutil.move(inner, folder / "..2026")
    (folder / "..data").symlink_to("..2026")
    for name in os.listdir(folder / "..2026"):
        (folder / name).symlink_to(f"..data/{name}")
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    socket = Path(re.findall(r"host=([^&]+)", url)[0].replace("%2F", "/"))
    folders = {mount["mountPath"]: folder, str(socket): socket}
    (init,) = pod["initContainers"]
    migrate = start(*init["args"], environment=environment, folders=folders)
    assert migrate.process.wait(60) == 0, migrate.output
    port = free_port()
    daemon = start(*container["args"], environment={**environment, LISTEN: f"127.0.0.1:{port}"}, folders=folders)
    probes = [container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert probes == ["/healthz", "/healthz", "/readyz"]
    for path in probes:
        until(lambda path=path: status(port, path) == 200)
    assert daemon.stop() == 0, daemon.output
