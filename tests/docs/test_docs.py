"""The README and the docs held against the code: what they name exists, and what they tell to run runs as it stands."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from almirant_webhooks import clock
from almirant_webhooks.cli.root import root
from almirant_webhooks.ops.metrics import Metrics
from almirant_webhooks.rules import signing
from almirant_webhooks.rules.event_types import CATALOGUE
from almirant_webhooks.settings import loading
from almirant_webhooks.settings.schema import Settings
from almirant_webhooks.storage.sqlite import migrate

from ..bench.__main__ import PARTS
from ..conftest import Receiver
from ..support.service import SECRET, Service
from ..support.signed import request_headers

HERE = Path(__file__).parents[2]
PACKAGE = HERE / "src" / "almirant_webhooks"
DOCUMENTS = sorted([HERE / "README.md", *(HERE / "docs").glob("*.md"), *(HERE / "docs" / "decisions").glob("*.md")])
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS}
ALL = "\n".join(TEXTS.values())
_BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^>]+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
KEYS = list(loading.every_key())
_MARKED = {"runs": "sh", "runs: sql": "sql", "runs: python": "python", "runs: producer": "python"}
INLINE = re.findall(r"`([^`\n]+)`", _BLOCK.sub("", ALL))


def _blocks(text: str, mark: str) -> list[str]:
    return [found["text"] for found in _BLOCK.finditer(text) if found["mark"] == mark]


def _commands() -> Iterator[list[str]]:
    """Yield the words after `almirant-webhooks` wherever a document gives a command."""
    blocks = [found["text"] for found in _BLOCK.finditer(ALL) if found["kind"] == "sh"]
    lines = [line for text in blocks for line in text.replace("\\\n", " ").splitlines()]
    for line in (*lines, *INLINE):
        for part in re.split(r"&&|\|\||[|;)]|\$\(", line):
            words = shlex.split(part, comments=True) if part.count("'") % 2 == 0 and part.count('"') % 2 == 0 else []
            if words and Path(words[0]).name == "almirant-webhooks" and words[1:]:
                yield words[1:]


@pytest.mark.parametrize("words", list(_commands()), ids=" ".join)
def test_every_command_that_is_named_exists(words: list[str]) -> None:
    """With every option that is given to it."""
    context = click.Context(root)
    command: click.Command = root
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_command_of_the_docs_is_seen() -> None:
    """The search above finds what it is meant to find."""
    assert len(list(_commands())) > 30


def test_every_configuration_key_and_variable_that_is_named_exists() -> None:
    """`section.name`, and `ALMIRANT_WEBHOOKS_…`; no key is a leftover of an earlier name."""
    keys = {f"{section}.{name}" for section, name in KEYS}
    sections = "|".join(Settings.model_fields)
    named = {text for code in INLINE for text in re.findall(rf"(?<![\w./-])(?:{sections})\.[a-z_]+", code)}
    assert {name for name in named if not name.endswith((".db", ".md", ".py"))} <= keys
    assert {"outbox.path", "egress.allow_localhost", "admin.listen"} <= named
    variables = {loading.variable(section, name) for section, name in KEYS} | {loading.CONFIG_VARIABLE}
    assert set(re.findall(r"ALMIRANT_WEBHOOKS_[A-Z_]+", ALL)) <= variables


def test_every_table_and_view_is_named_and_exists(service: Service) -> None:
    """The operators' page names all that an operator may read, and nothing else."""
    service.migrate()
    conn = sqlite3.connect(service.database)
    there = {kind: {row[0] for row in conn.execute("SELECT name FROM sqlite_schema WHERE type = ?", (kind,))} for kind in ("table", "view")}  # fmt: skip
    columns = {row[1] for row in conn.execute("PRAGMA table_info(outbox)")}
    conn.close()
    page = TEXTS["operators.md"]
    sentence = re.search(r"tables ((?:`\w+`(?: \([^)]*\))?(?:, )?)+)", page)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[0])) == there["table"] - {"database_meta"}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == there["view"]
    producers = re.findall(r"^\| (`.+?) \|", TEXTS["producers.md"].partition("\n\nA row")[0], re.MULTILINE)
    assert {name for cell in producers for name in re.findall(r"`(\w+)`", cell)} - {"outbox"} == columns


def test_every_header_is_named_and_sent() -> None:
    """The receivers' page has each header that is ours."""
    headers = request_headers(
        url="https://example.com/in", secret=SECRET, body=b"{}", delivery_id="dlv_1", event_type="lead.created",
        number=1, started_at=clock.now(), test=True, next_secret=SECRET,
    )  # fmt: skip
    sent = {name.lower() for name, _ in headers}
    named = {name.lower() for name in re.findall(r"`((?:X-Almirant|webhook)-[A-Za-z-]+)`", ALL)}
    assert named == {name for name in sent if name.startswith(("x-almirant-", "webhook-"))}


def test_every_metric_that_is_named_exists() -> None:
    """By the name that Prometheus sees."""
    page = Metrics().page().decode()
    named = re.findall(r"`(almirant_webhooks_\w+)`", ALL)
    assert named
    for name in named:
        assert re.search(rf"^{name}[ {{]", page, re.MULTILINE), name


def test_every_figure_of_the_benchmarks_is_explained() -> None:
    """Each has its line in the table of the performance page, and no other has one."""
    rows = re.findall(r"^\| (`.+?`) \|", TEXTS["performance.md"], re.MULTILINE)
    assert {name for cell in rows for name in re.findall(r"`([\w-]+)`", cell)} == set(PARTS)


def test_the_numbers_are_the_defaults() -> None:
    """The nine types, the schedule and the time limit that people read are those in force."""
    settings = Settings()
    waits = [clock.show_duration(wait) for wait in settings.delivery.retry_schedule]
    assert waits == ["0s", "1m", "5m", "30m", "2h"]
    assert ", ".join(waits) in (HERE / "docs" / "picture.svg").read_text(encoding="utf-8")
    for name in ("README.md", "receivers.md"):
        assert "0 s, 1 min, 5 min, 30 min and 2 h" in TEXTS[name]
        assert f"within {settings.delivery.timeout.total_seconds():.0f} seconds" in TEXTS[name]
    for event_type in CATALOGUE:
        assert f"`{event_type}`" in TEXTS["README.md"]


@pytest.mark.parametrize(
    "path", [*DOCUMENTS, HERE / "CONTRIBUTING.md", HERE / "SECURITY.md"], ids=lambda path: path.name
)
def test_every_link_leads_somewhere(path: Path) -> None:
    """To a file of the repository, and to a heading that is in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            file, _, heading = link.partition("#")
            target = path.parent / file if file else path
            assert target.is_file(), link
            assert not heading or heading in _headings(target.read_text(encoding="utf-8")), link


def test_every_picture_is_shown_and_no_other() -> None:
    """A page that shows one that is not there fails above; one that no page shows is left over."""
    shown = set(re.findall(r"\]\((?:docs/)?screens/([\w-]+\.png)\)", ALL))
    assert {path.name for path in (HERE / "docs" / "screens").iterdir()} == shown
    words = re.findall(r"!\[([^\]]*)\]\(", ALL)
    assert all(len(text.split()) > 1 or text[:1].isupper() for text in words), "each says what it shows"


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_of_the_code_that_is_named_exists(name: str) -> None:
    """In a room of the package, with or without its ending; a bare `file.py` may be anywhere; tests by their whole path."""
    rooms = "|".join(path.name for path in PACKAGE.iterdir() if path.is_dir() and "__" not in path.name)
    for code in re.findall(r"`([^`\n]+)`", _BLOCK.sub("", TEXTS[name])):
        if re.fullmatch(rf"(?:{rooms})(?:/[a-z_]+)*(?:/|\.py)?", code) and "/" in code:
            assert (PACKAGE / code).exists() or (PACKAGE / f"{code}.py").is_file(), code
        elif re.fullmatch(r"tests/[\w/.]+", code):
            assert (HERE / code).exists(), code
        elif re.fullmatch(r"[a-z_]+\.py", code):
            assert any((*PACKAGE.rglob(code), *(HERE / "tests").rglob(code))), code


def test_the_architecture_page_names_every_room() -> None:
    """Folders and modules at the root, each with its line or its place in one."""
    table = TEXTS["architecture.md"].partition("| room |")[2].partition("## ")[0]
    files = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))  # of a room that has gone a cache may be left
    rooms = {path.parts[0] for path in files if not path.name.startswith("_") or len(path.parts) > 1}
    assert {room for room in rooms if f"`{room}" not in table} == set()


def _headings(text: str) -> set[str]:
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in found}


def test_the_installation_names_what_is_there() -> None:
    """Each file that it copies is in the repository, and the configuration is one that loads."""
    (block,) = _blocks(TEXTS["README.md"], "install")
    named = set(re.findall(r"(?<= )systemd/[\w.-]+", block))
    assert named == {f"systemd/{path.name}" for path in (HERE / "systemd").iterdir()}
    done = subprocess.run(["sh", "-n"], input=block, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    settings = loading.load(str(HERE / "systemd" / "config.toml"))
    assert f"`{settings.outbox.path}`" in TEXTS["README.md"]
    unit = (HERE / "systemd" / "almirant-webhooks.service").read_text()
    assert "ExecStart=/opt/almirant-webhooks/bin/almirant-webhooks serve --migrate" in unit
    assert settings.admin.listen is not None
    assert f"http://{settings.admin.listen[0]}:{settings.admin.listen[1]}/readyz" in block


def test_the_two_first_commands_name_what_the_project_has() -> None:
    """The extra `test`, and the demo; running them in a fresh environment is the release's work."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    first, second = re.findall(r"^```sh\n(python3 -m venv .+)\n```$", TEXTS["README.md"], re.MULTILINE)
    assert first.endswith("almirant-webhooks demo --once")
    assert "'.[test]'" in second
    assert "test" in project["optional-dependencies"]
    assert "almirant-webhooks" in project["scripts"]


@pytest.fixture
async def prepared(service: Service, receiver: Receiver, tmp_path: Path) -> dict[str, str]:
    """The environment of a reader who has a configuration, a webhook, and a delivery; the daemon is stopped again."""
    await service.start()
    webhook = service.webhook(receiver.url)
    (event,) = service.insert()
    await service.until(lambda: [row["state"] for row in service.log()] == ["succeeded"])
    await service.stop()
    place = tmp_path / "config.toml"
    place.write_text(f'[database]\npath = "{service.database}"\n\n[egress]\nallow_localhost = true\n')
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        loading.CONFIG_VARIABLE: str(place),
        "WEBHOOK": webhook.id,
        "DELIVERY": service.log()[0]["delivery_id"],
        "EVENT": event,
        "WEBHOOK_SECRET": SECRET,
        "BACKUP": str(tmp_path / "backup.db"),
    }


def _run_shell(text: str, folder: Path, environment: dict[str, str], _: Service) -> None:
    done = subprocess.run(["sh", "-eu"], input=text, text=True, capture_output=True, cwd=folder, env=environment)
    assert done.returncode == 0, (text, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr


def _run_sql(text: str, _: Path, __: dict[str, str], service: Service) -> None:
    """Run the statements on a connection like that of any program; they change nothing but the outbox."""
    conn = service.producer()
    before = {row[0] for row in conn.execute("SELECT event_id FROM outbox")}
    conn.executescript(text)
    after = {row[0] for row in conn.execute("SELECT event_id FROM outbox")}
    conn.close()
    assert len(after - before) == text.count("INSERT INTO outbox")


def _run_python(text: str, _: Path, __: dict[str, str], ___: Service) -> None:
    """Run the receiver's verifier on a request that is signed here."""
    space: dict[str, Callable[[bytes, str, str], bool]] = {}
    exec(text, space)
    verify = space["verify_webhook_signature"]
    assert verify(b"{}", signing.signature(b"{}", SECRET), SECRET)
    assert not verify(b"{ }", signing.signature(b"{}", SECRET), SECRET)


def _run_producer(text: str, folder: Path, _: dict[str, str], __: Service) -> None:
    """Run the producer beside an application's tables; its change and its event are there."""
    conn = sqlite3.connect(folder / "shop.db")
    conn.executescript(migrate.outbox_sql())
    conn.execute("CREATE TABLE work_items (id TEXT, board_column TEXT)")
    conn.execute("INSERT INTO work_items VALUES ('wi_1', 'Doing')")
    conn.commit()
    subprocess.run([sys.executable, "-c", text], cwd=folder, check=True)
    assert conn.execute("SELECT board_column FROM work_items").fetchall() == [("Done",)]
    assert conn.execute("SELECT event_type FROM outbox").fetchall() == [("work_item.moved",)]
    conn.close()


_RUNNERS = {"runs": _run_shell, "runs: sql": _run_sql, "runs: python": _run_python, "runs: producer": _run_producer}


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if "<!-- runs" in text])
async def test_what_is_marked_runs_as_it_stands(
    name: str, prepared: dict[str, str], service: Service, tmp_path: Path
) -> None:
    """In the order of the page, in one place; every mark is one that this test knows."""
    marks = [(found["mark"], found["kind"], found["text"]) for found in _BLOCK.finditer(TEXTS[name]) if found["mark"]]
    for mark, kind, text in marks:
        if mark == "install" or mark.startswith("walk: "):
            continue
        assert kind == _MARKED[mark]
        _RUNNERS[mark](text, tmp_path, prepared, service)
