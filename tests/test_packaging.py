"""The wheel and the sdist, built and installed as an operator does, upgraded, and rolled back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from .conftest import Receiver

HERE = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def run(*words: str | Path, cwd: Path | None = None, code: int = 0, more: dict[str, str] | None = None) -> str:
    """Run a command; hold its exit code, and return what it printed to either stream."""
    command = [str(word) for word in words]
    environment = {**os.environ, **(more or {})}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return done.stdout if code == 0 else done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both distributions."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", out, cwd=HERE)
    return out


def test_the_wheel_holds_the_package_with_all_that_it_reads_and_nothing_else(built: Path) -> None:
    """Every file of the package, and the licence; no test, and no file of a workplace."""
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    source = HERE / "src"
    tracked = {
        str(path.relative_to(source))
        for path in (source / "almirant_webhooks").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tracked <= names
    rest = {name for name in names if not name.startswith("almirant_webhooks/")}
    assert all(".dist-info/" in name for name in rest)
    assert any(name.endswith("LICENSE") for name in rest)
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "config.example.toml"} <= held
    assert {"systemd/almirant-webhooks.service", "docs/operators.md", "docs/monitoring/alerts.yml"} <= held
    assert not any(name.startswith((".venv", ".git/")) for name in held)


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_pipx_installs_it_and_the_demo_delivers(built: Path, tmp_path: Path, kind: str) -> None:
    """With the dependencies that it names, and no others, in an environment of its own."""
    (file,) = built.glob(kind)
    venv.create(tmp_path / "pipx", with_pip=True)
    pip = (tmp_path / "pipx" / "bin" / "python", "-m", "pip")
    run(*pip, "install", "--quiet", "pipx")
    home = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    constraints = f"--constraint={HERE / '.ci' / 'constraints.txt'}"
    run(tmp_path / "pipx" / "bin" / "pipx", "install", f"--pip-args={constraints}", file, more=home)
    command = tmp_path / "bin" / "almirant-webhooks"
    assert "almirant-webhooks" in run(command, "--version")
    run(command, "demo", "--once", cwd=tmp_path)
    run(tmp_path / "home" / "venvs" / "almirant-webhooks" / "bin" / "python", "-m", "pip", "check")


def test_the_steps_of_an_upgrade_and_of_its_rollback(built: Path, tmp_path: Path) -> None:
    """Backup, new release, migrate; back: the old release refuses the newer database and works on the backup."""
    command = Path(sys.executable).parent / "almirant-webhooks"
    config = tmp_path / "config.toml"
    database = tmp_path / "webhooks.db"
    config.write_text(f'[database]\npath = "{database}"\n')
    given = ("--config", config)
    run(command, "migrate", *given)
    run(command, "webhook", "create", "--project", "p", "--url", "https://example.com", "--event", "*", *given)
    run(command, "backup", tmp_path / "before.db", *given)
    # A newer release's migration, as this one would find it after a rollback.
    run(sys.executable, "-c", f"import sqlite3; sqlite3.connect({str(database)!r}).execute('PRAGMA user_version = 99')")
    assert "newer release" in run(command, "stats", *given, code=78)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    (tmp_path / "before.db").rename(database)
    run(command, "migrate", *given)
    assert json.loads(run(command, "stats", "--json", *given))["webhooks"]["enabled"] == 1


# Where the version of the schema stands, and where it stood in 0.1.0.
_PLACES = ("src/almirant_webhooks/storage/sqlite/connection.py", "src/almirant_webhooks/db/connection.py")


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=HERE, capture_output=True, check=True).stdout


def _schema_version(commit: str) -> int | None:
    """Return the version of a commit's tables; None where the file says none."""
    place = next(place for place in _PLACES if _git("ls-tree", "--name-only", commit, "--", place))
    found = re.search(rb"SCHEMA_VERSION = (\d+)", _git("show", f"{commit}:{place}"))
    return int(found[1]) if found else None


def earlier_source() -> str | None:
    """The last commit whose tables were those of an earlier schema; None without a history that goes back that far."""
    try:
        commits = _git("log", "--format=%h", "--", *_PLACES).decode().split()
        versions = {commit: _schema_version(commit) for commit in commits}
        newest = next(iter(versions.values()))
        before = [commit for commit, version in versions.items() if version and newest and version < newest]
        changed = commits[commits.index(before[0]) - 1]
        return _git("rev-parse", f"{changed}^").decode().strip()
    except (OSError, subprocess.CalledProcessError, IndexError, StopIteration):
        return None


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The folder into which the wheel of an earlier release is installed, built from its own source."""
    commit = earlier_source()
    if commit is None:
        return None
    folder = tmp_path_factory.mktemp("earlier")
    (folder / "source").mkdir()
    subprocess.run(["tar", "-x", "-C", folder / "source"], input=_git("archive", commit), check=True)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=folder / "source")
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "installed", wheel)
    return folder / "installed"


class Release:
    """One release's command on a configuration."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.more = {"PYTHONPATH": str(folder), "ALMIRANT_WEBHOOKS_ADMIN__LISTEN": ""}
        if not (folder / "almirant_webhooks" / "web").is_dir():
            del self.more["ALMIRANT_WEBHOOKS_ADMIN__LISTEN"]  # of before there were pages
        self.start = (sys.executable, "-c", "from almirant_webhooks.cli import main; main()")
        self.config = ("--config", str(config))

    async def run(self, *words: str, code: int = 0) -> str:
        return await asyncio.to_thread(run, *self.start, *words, *self.config, code=code, more=self.more)

    @asynccontextmanager
    async def serving(self, *words: str) -> AsyncIterator[None]:
        """The daemon, as its unit runs it."""
        process = await asyncio.create_subprocess_exec(
            *self.start,
            "serve",
            *words,
            *self.config,
            env={**os.environ, **self.more},
            stderr=asyncio.subprocess.DEVNULL,
        )
        yield
        process.terminate()
        assert await process.wait() == 0


async def test_an_earlier_release_is_upgraded_and_rolled_back_by_the_documented_steps(
    earlier: Path | None, tmp_path: Path, receiver: Receiver
) -> None:
    """With deliveries before, between and after."""
    if earlier is None:
        pytest.skip("this clone has no history of an earlier schema")
    config, database = tmp_path / "config.toml", tmp_path / "webhooks.db"
    config.write_text(f'[database]\npath = "{database}"\n[egress]\nallow_localhost = true\n')
    old, new = Release(earlier, config), Release(HERE / "src", config)

    async def deliver(release: Release, *words: str) -> None:
        before = len(receiver.requests)
        await release.run("event", "send", "--project", "p", "--type", "lead.created", "--data", "{}")
        async with release.serving(*words), asyncio.timeout(60):
            while len(receiver.requests) == before:
                await asyncio.sleep(0.02)

    await old.run("migrate")
    await old.run("webhook", "create", "--project", "p", "--url", receiver.url, "--event", "*")
    await deliver(old)
    copy = tmp_path / "before.db"
    if any((earlier / "almirant_webhooks").rglob("backup.py")):
        await old.run("backup", str(copy))
    else:  # stopped, the file alone is all of it
        copy.write_bytes(database.read_bytes())
    await deliver(new, "--migrate")
    rows = json.loads(await new.run("delivery", "list", "--json"))
    assert [row["state"] for row in rows] == ["succeeded", "succeeded"]
    assert "newer" in await old.run("delivery", "list", code=78)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    copy.rename(database)
    await deliver(old)
    assert len(json.loads(await old.run("delivery", "list", "--json"))) == 2
    assert len({request.headers["X-Almirant-Delivery"] for request in receiver.requests}) == 3
