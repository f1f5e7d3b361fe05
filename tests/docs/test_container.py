"""What is in `deploy/` for containers, held against the settings, the schemas of its formats, and its page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from almirant_webhooks.cli.root import root
from almirant_webhooks.clock import duration
from almirant_webhooks.daemon import STOP
from almirant_webhooks.model import Misconfigured
from almirant_webhooks.ops import sealing
from almirant_webhooks.settings import loading
from almirant_webhooks.settings.schema import Settings
from almirant_webhooks.web import health

from ..support import needs

HERE = Path(__file__).parents[2]
DEPLOY = HERE / "deploy"
IMAGE = (DEPLOY / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "almirant-webhooks"}
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
KINDS = {document["kind"]: document for document in DOCUMENTS}
POD: dict[str, Any] = KINDS["Deployment"]["spec"]["template"]["spec"]
CONTAINERS: list[dict[str, Any]] = [*POD["initContainers"], *POD["containers"]]
PAGE = (HERE / "docs" / "container.md").read_text()
KEYS = list(loading.every_key())
KEY_NAMES = {f"{section}.{name}" for section, name in KEYS}
VARIABLES = {loading.variable(section, name) for section, name in KEYS}
UID = 10001
# The longest that a stop takes: the time limit of a request, and what comes after it.
LONGEST = Settings().delivery.timeout.total_seconds() + STOP


def _block(mark: str) -> str:
    found = re.findall(rf"^<!-- container: {mark} -->\n```sh\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, mark
    return "".join(found)


def _load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str], secrets: Path) -> Settings:
    """The settings as a container with these variables and this folder of secrets has them."""
    (tmp_path / "empty.toml").touch()
    for name, value in {loading.CONFIG_VARIABLE: str(tmp_path / "empty.toml"), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    return loading.load()


def _check(*words: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name(words[0])
    return subprocess.run([program, *words[1:]], capture_output=True, text=True, check=False)


COMPOSE_SCHEMA = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
KUBERNETES_SCHEMA = ("kubernetes-validate", "--strict")


@pytest.mark.slow
@pytest.mark.parametrize(("schema", "file"), [(COMPOSE_SCHEMA, "compose.yaml"), (KUBERNETES_SCHEMA, "kubernetes.yaml")])
def test_each_file_is_what_its_schema_says(schema: tuple[str, ...], file: str) -> None:
    """That of the Compose Specification, and those of the newest Kubernetes that is known here."""
    done = _check(*schema, str(DEPLOY / file))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "file", "right", "wrong"),
    [
        (COMPOSE_SCHEMA, "compose.yaml", "read_only: true", "read_onyl: true"),
        (KUBERNETES_SCHEMA, "kubernetes.yaml", "readinessProbe:", "readynessProbe:"),
        (KUBERNETES_SCHEMA, "kubernetes.yaml", "replicas: 2", "replicas: two"),
    ],
)
def test_these_schemas_find_what_is_wrong(
    tmp_path: Path, schema: tuple[str, ...], file: str, right: str, wrong: str
) -> None:
    """A key that is misspelt, and a value of another type."""
    text = (DEPLOY / file).read_text()
    assert right in text
    (tmp_path / file).write_text(text.replace(right, wrong, 1))
    assert _check(*schema, str(tmp_path / file)).returncode != 0


def test_every_variable_and_every_secret_is_a_key() -> None:
    """Of each service and each container; a secret is named as its key is."""
    for environment in (service["environment"] for service in OURS.values()):
        assert set(environment) <= VARIABLES
    for container in CONTAINERS:
        assert {variable["name"] for variable in container["env"]} <= VARIABLES | {"CREDENTIALS_DIRECTORY"}
    given = {"database.url", "secrets.key_file", "admin.token"}
    assert given <= KEY_NAMES
    assert set(COMPOSE["secrets"]) == given | {"postgres.password"}
    assert all(set(service["secrets"]) == given for service in OURS.values())
    assert set(KINDS["Secret"]["stringData"]) == given
    assert set(re.findall(r"CREDENTIALS_DIRECTORY=(\S+)", IMAGE)) == {"/run/secrets"}


def test_the_secrets_of_the_page_start_the_services_of_compose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As it stands, but for `sudo`: what it writes are settings that go together, and a key that seals."""
    needs.root("files of another user")
    (tmp_path / "deploy").mkdir()
    script = _block("secrets").replace("sudo ", "")
    done = subprocess.run(["sh", "-eu"], input=script, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    secrets = tmp_path / "deploy" / "secrets"
    assert {path.name for path in secrets.iterdir()} == set(COMPOSE["secrets"])
    assert {(path.stat().st_uid, path.stat().st_mode & 0o777) for path in secrets.iterdir()} == {(UID, 0o600)}
    assert all(secret["file"] == f"secrets/{name}" for name, secret in COMPOSE["secrets"].items())
    password = (secrets / "postgres.password").read_text().strip()
    postgres = COMPOSE["services"]["postgres"]["environment"]
    for service in OURS.values():
        settings = _load(monkeypatch, tmp_path, service["environment"], secrets)
        user, database = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
        assert settings.database.url == f"postgresql://{user}:{password}@postgres/{database}?sslmode=disable"
        assert sealing.of(settings).newest() == "k1"
        assert settings.admin.listen == ("0.0.0.0", 8420)
    assert "/deploy/secrets/" in (HERE / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("key", sorted(KINDS["Secret"]["stringData"]))
def test_nothing_starts_with_a_secret_of_the_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str) -> None:
    """Whichever of them was left as it is."""
    right = {"database.url": "postgresql:///db", "secrets.key_file": f"k1 {'A' * 43}=", "admin.token": "t" * 40}
    for name, value in {**right, key: KINDS["Secret"]["stringData"][key]}.items():
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o400)
    environment = {variable["name"]: variable["value"] for variable in CONTAINERS[0]["env"]}
    with pytest.raises(Misconfigured, match=key.replace("secrets.key_file", "key file")):
        sealing.of(_load(monkeypatch, tmp_path, environment, tmp_path)).newest()


def test_the_ports_are_that_of_the_image() -> None:
    """The one that it listens on, asks in its health check, publishes and probes."""
    (port,) = re.findall(r"^EXPOSE (\d+)$", IMAGE, re.MULTILINE)
    assert f"HTTPConnection('127.0.0.1', {port}," in IMAGE
    published = [service["ports"][0].rpartition(":") for service in OURS.values() if "ports" in service]
    assert len({host for host, _, _ in published}) == len(published) == 2
    assert {there for _, _, there in published} == {port}
    assert all(host.startswith("127.0.0.1:") for host, _, _ in published)
    (daemon,) = POD["containers"]
    assert daemon["ports"] == [{"name": "http", "containerPort": int(port)}]
    assert KINDS["Service"]["spec"]["ports"] == [{"name": "http", "port": int(port), "targetPort": "http"}]
    environments = [service["environment"] for service in OURS.values()]
    environments += [{variable["name"]: variable["value"] for variable in daemon["env"]}]
    assert {environment["ALMIRANT_WEBHOOKS_ADMIN__LISTEN"] for environment in environments} == {f"0.0.0.0:{port}"}
    source = Path(str(health.__file__)).read_text()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert daemon[probe]["httpGet"]["port"] == "http"
        assert f'web.get("{daemon[probe]["httpGet"]["path"]}"' in source


def test_each_daemon_has_the_time_that_a_stop_takes() -> None:
    """More than the time limit of a request and what comes after it."""
    graces = [service["stop_grace_period"] for service in OURS.values() if service["command"] == ["serve"]]
    assert len(graces) == 2
    assert all(duration(grace).total_seconds() > LONGEST for grace in graces)
    (container,) = POD["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]  # Kubernetes counts it too
    assert POD["terminationGracePeriodSeconds"] > pause + LONGEST
    assert f"{LONGEST:.0f} s by default: give it 20" in PAGE


def test_no_container_of_ours_has_more_rights_than_it_needs() -> None:
    """Its user is that of the image; its root is read-only; it gains and keeps no right of root's."""
    assert re.findall(r"^USER (.+)$", IMAGE, re.MULTILINE) == [f"{UID}:{UID}"]
    for service in OURS.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "user", "volumes", "devices", "cap_add"} & set(service)
    security = POD["securityContext"]
    assert security["runAsNonRoot"] is True
    assert {security["runAsUser"], security["runAsGroup"], security["fsGroup"]} == {UID}
    for container in CONTAINERS:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip


def test_the_daemons_begin_once_the_tables_are_made() -> None:
    """In compose after `migrate`, which waits for the server; in a pod after its init container."""
    assert OURS["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    daemons = {name for name, service in OURS.items() if service["command"] == ["serve"]}
    assert daemons == {"daemon-1", "daemon-2"} == set(OURS) - {"migrate"}
    for name in daemons:
        assert OURS[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert name == OURS[name]["hostname"]
        assert name in OURS[name]["environment"]["ALMIRANT_WEBHOOKS_ADMIN__HOSTS"].split(",")
    assert [container["args"] for container in CONTAINERS] == [["migrate"], ["serve"]]
    assert len({container["image"] for container in CONTAINERS}) == 1


def test_the_documents_for_kubernetes_mean_each_other() -> None:
    """By labels and names. Two replicas of which one may be evicted, and no variables of a Service's, which we would refuse."""
    deployment, name = KINDS["Deployment"], "almirant-webhooks"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"], KINDS["PodDisruptionBudget"]["spec"]["selector"]]
    assert all(selector == {"matchLabels": labels} for selector in selectors)
    assert KINDS["Service"]["spec"]["selector"] == labels
    assert {document["metadata"]["name"] for document in DOCUMENTS} == {name}
    assert deployment["spec"]["replicas"] == 2
    assert KINDS["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    # Readiness asks the database: while that is away no pod is ready, and a node must be drained all the same.
    assert KINDS["PodDisruptionBudget"]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert POD["volumes"][0]["secret"]["secretName"] == name
    (mount,) = POD["containers"][0]["volumeMounts"]
    assert {"name": "CREDENTIALS_DIRECTORY", "value": mount["mountPath"]} in POD["containers"][0]["env"]
    assert name.upper().replace("-", "_") + "_" == loading.PREFIX
    assert POD["enableServiceLinks"] is False


def test_a_variable_of_a_service_would_be_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the page says of `enableServiceLinks`."""
    with pytest.raises(Misconfigured, match="ALMIRANT_WEBHOOKS_SERVICE_HOST"):
        _load(monkeypatch, tmp_path, {"ALMIRANT_WEBHOOKS_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the service and the words after it wherever the page runs one of ours by compose."""
    for line in _block("compose").splitlines():
        words = shlex.split(line.partition(" > ")[0])
        assert words[:2] == ["docker", "compose"]
        if words[2] in ("exec", "run"):
            service, *rest = [word for word in words[3:] if word not in ("--rm", "-T")]
            yield service, rest


def test_the_page_s_commands_name_services_and_commands_that_there_are() -> None:
    """By compose and by kubectl."""
    ran = list(_commands())
    assert len(ran) >= 3
    for service, words in ran:
        assert service in COMPOSE["services"]
        if service in OURS:
            words = words[words[0] == "almirant-webhooks" :]
            assert root.get_command(click.Context(root), words[0]) is not None
    logs = re.search(r"docker compose logs --follow (.+)", PAGE)
    assert logs is not None
    assert set(logs[1].split()) <= set(OURS)
    kubectl = _block("kubernetes")
    assert f"deployment/{KINDS['Deployment']['metadata']['name']}" in kubectl
    assert f"--container {POD['containers'][0]['name']} --" in kubectl
    assert set(re.findall(r"--from-file=([\w.]+)", PAGE)) == set(KINDS["Secret"]["stringData"])


def test_an_engine_is_given_what_the_image_is_made_of_and_no_secret() -> None:
    """A builder may read all of the folder, where the secrets are another user's: `.dockerignore` leaves that out."""
    lines = [line for line in (HERE / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", IMAGE, re.MULTILINE)).split()
    assert lines[0] == "*"
    assert {line[1:] for line in lines[1:] if line.startswith("!")} == set(copied)
    assert not any(line.startswith("!deploy") for line in lines)


def test_a_dump_is_written_as_it_is() -> None:
    """Without a terminal between, which some engines make unless they are told not to, and which changes line ends."""
    dumps = [line for line in _block("compose").splitlines() if " > " in line]
    assert dumps
    assert all(line.startswith("docker compose exec -T ") for line in dumps)


def test_the_image_is_made_of_files_that_there_are() -> None:
    """Those that it copies; and the page builds it by its name."""
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", IMAGE, re.MULTILINE):
        assert all((HERE / name).exists() for name in names.split())
    assert PAGE.count("--file deploy/Containerfile .") == 2
    build = OURS["migrate"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Containerfile")
