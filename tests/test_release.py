"""What `.ci/release` builds of a release: what is in it, what it says of itself, and that anybody can build the same bytes."""

from __future__ import annotations

import email.parser
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from .support import needs

HERE = Path(__file__).parents[1]
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
INFO = f"almirant_webhooks-{PROJECT['version']}.dist-info"
KINDS = {".css", ".html", ".js", ".json", ".po", ".py", ".sql", ".svg", ".txt", ".typed"}


def run(*words: str | Path, cwd: Path, **variables: str) -> None:
    """Run a command with the programs beside this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, **variables}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def files(under: str = ".") -> set[str]:
    """The files of the project, by git: those that are new and not ignored as well."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", under]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.split("\0") if name and (HERE / name).is_file()}


def copy(to: Path, umask: int) -> Path:
    """Copy the project's files to a path, with the rights that a user with this umask gets."""
    for name in files():
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((HERE / name).read_bytes())
        target.chmod(((HERE / name).stat().st_mode | 0o066) & ~umask)
    return to


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `.ci/release` filled; it checks by `twine check --strict` what it has built."""
    for name in ("twine", "cyclonedx-py"):
        if not Path(sys.executable).with_name(name).exists():
            needs.program(name)
    folder = tmp_path_factory.mktemp("release")
    run(HERE / ".ci" / "release", folder, cwd=HERE)
    return folder


def metadata(release: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(release / wheel_name()) as wheel:
        return email.parser.Parser().parsestr(wheel.read(f"{INFO}/METADATA").decode())


def wheel_name() -> str:
    """It is for every Python and machine."""
    return f"almirant_webhooks-{PROJECT['version']}-py3-none-any.whl"


@pytest.mark.slow
def test_a_release_is_an_sdist_a_wheel_and_a_list_of_its_libraries(release: Path) -> None:
    """And nothing else."""
    sdist = f"almirant_webhooks-{PROJECT['version']}.tar.gz"
    assert {path.name for path in release.iterdir()} == {wheel_name(), sdist, "sbom.cdx.json"}


@pytest.mark.slow
def test_the_wheel_is_the_files_of_the_package(release: Path) -> None:
    """Each with its bytes: SQL, templates, what pages load, the mark that it is typed, and the licence; nothing else."""
    with zipfile.ZipFile(release / wheel_name()) as wheel:
        names = set(wheel.namelist())
        for name in files("src"):
            assert wheel.read(name.removeprefix("src/")) == (HERE / name).read_bytes(), name
        assert wheel.read(f"{INFO}/licenses/LICENSE") == (HERE / "LICENSE").read_bytes()
    package = {name for name in names if name.startswith("almirant_webhooks/")}
    assert package == {name.removeprefix("src/") for name in files("src")}
    assert {Path(name).suffix for name in package} <= KINDS
    assert "almirant_webhooks/py.typed" in package
    for start in ("storage/sqlite/migrations/0001", "storage/sqlite/outbox_migrations/0001", "web/templates/"):
        assert any(name.startswith(f"almirant_webhooks/{start}") for name in package), start
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert names - package == {f"{INFO}/{name}" for name in about}


@pytest.mark.slow
def test_the_sdist_is_the_files_of_the_project(release: Path) -> None:
    """Tests and docs too, so that whoever packages it can run them; nothing of a workplace."""
    (sdist,) = release.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == files() | {"PKG-INFO"}


@pytest.mark.slow
def test_the_metadata_say_what_it_is_and_what_it_needs(release: Path) -> None:
    """The Pythons are those on which the tests are run."""
    said = metadata(release)
    assert said["Version"] == PROJECT["version"]
    assert said["License-Expression"] == "MIT"
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Author"]
    assert said["Summary"] == PROJECT["description"]
    assert "# almirant-webhooks" in str(said.get_payload())
    classifiers = said.get_all("Classifier", [])
    assert classifiers == sorted(PROJECT["classifiers"])
    pythons = re.findall(r"Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    named = set(re.findall(r"3\.1[0-9]", (HERE / ".ci" / "pythons").read_text()))
    assert set(pythons) == named | {"3.11"}


@pytest.mark.slow
def test_the_list_of_libraries_has_each_in_its_pinned_version(release: Path) -> None:
    """What the service loads, on PostgreSQL too, with licences, and no tool of ours; it names no folder of its making."""
    text = (release / "sbom.cdx.json").read_text()
    listed = json.loads(text)
    assert listed["bomFormat"] == "CycloneDX"
    about = listed["metadata"]["component"]
    assert (about["name"], about["version"], about["type"]) == ("almirant-webhooks", PROJECT["version"], "application")
    lines = (HERE / ".ci" / "constraints.txt").read_text().splitlines()
    pins = {_plain(name): version for name, version in (line.split("==") for line in lines)}
    found = {_plain(part["name"]): part["version"] for part in listed["components"]}
    assert all(pins[name] == version for name, version in found.items())
    assert all(part.get("licenses") for part in listed["components"])
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["postgres"]]
    needed = {_plain(re.split(r"[<>=\[]", line)[0]) for line in lines}
    assert needed | {"psycopg-binary"} <= found.keys()
    assert not {"pip", "pytest", "hatchling", "twine"} & found.keys()
    assert "file://" not in text


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_two_people_build_the_same_bytes(tmp_path: Path) -> None:
    """In two folders, with other rights and times of the files, at the time that SOURCE_DATE_EPOCH says."""
    built: list[dict[str, bytes]] = []
    for name, umask in (("ada", 0o022), ("somebody else", 0o077)):
        folder = copy(tmp_path / name, umask)
        run(sys.executable, "-m", "build", "--no-isolation", ".", cwd=folder, SOURCE_DATE_EPOCH="1764417600")
        built.append({path.name: path.read_bytes() for path in (folder / "dist").iterdir()})
    assert len(built[0]) == 2
    assert built[0] == built[1]


def test_the_debian_package_has_the_version_of_the_project() -> None:
    """In the first line of its changelog."""
    first = (HERE / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"almirant-webhooks ({PROJECT['version']}) ")


def test_the_checklist_of_a_release_names_what_is_there() -> None:
    """Each program of the project that it tells to run, and each file."""
    page = (HERE / "docs" / "releasing.md").read_text()
    for name in re.findall(r"\.ci/\w+(?![\w.])", page):
        assert os.access(HERE / name, os.X_OK), name
    for name in re.findall(r"`([\w./]+\.(?:toml|md|txt|json))`", page):
        assert (HERE / name).exists() or name == "sbom.cdx.json", name
