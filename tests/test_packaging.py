"""The wheel and the sdist, built and installed as an operator does, upgraded, and rolled back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

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
