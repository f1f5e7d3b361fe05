"""The Debian package, built by dpkg-buildpackage: installed, upgraded from a release of before, removed, purged on a Debian 12."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import needs
from ..test_packaging import earlier_source
from ..test_release import copy
from .container import HERE, Container, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = "/etc/almirant-webhooks/config.toml"
DATABASE = "/var/lib/almirant-webhooks/almirant-webhooks.db"
OUTBOX = "/var/lib/almirant-outbox/outbox.db"
PROGRAM = "usr/lib/almirant-webhooks"
LIBRARIES = f"{PROGRAM}/lib/python3.11/site-packages"
INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')"


def build(folder: Path) -> Path:
    """Build the package in a new folder; return its file."""
    cache = subprocess.run(["pip", "cache", "dir"], capture_output=True, text=True, check=False).stdout.strip()
    quick = {"PIP_CACHE_DIR": cache, "DPKG_DEB_COMPRESSOR_TYPE": "none"}  # debhelper has a home of its own
    source = copy(folder / "source", 0o022)
    run(["nice", "dpkg-buildpackage", "--build=binary", "--no-sign"], cwd=source, **quick)
    (package,) = folder.glob("almirant-webhooks_*.deb")
    return package


def with_code_of(commit: str, package: Path, folder: Path) -> Path:
    """Make a package of an earlier version of this one, with the code of a commit; return its file."""
    run(["dpkg-deb", "--raw-extract", str(package), str(folder)])
    shutil.rmtree(folder / LIBRARIES / "almirant_webhooks")
    words = ["git", "archive", f"{commit}:src", "almirant_webhooks"]
    archive = subprocess.run(words, cwd=HERE, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", "--directory", folder / LIBRARIES], input=archive, check=True)
    into = ["-s", str(folder), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    run(["/usr/bin/python3", "-m", "compileall", "-q", *into, str(folder / LIBRARIES / "almirant_webhooks")])
    control = folder / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 0.1.0~earlier", control.read_text()))
    run(["dpkg-deb", "--build", "--root-owner-group", "-Znone", str(folder), f"{folder}.deb"])
    return Path(f"{folder}.deb")


@pytest.fixture(scope="module")
def machine(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A Debian 12 with both packages in /packages, and nothing of ours installed."""
    for tool in ("dpkg-buildpackage", "dh"):
        needs.program(tool)
    commit = earlier_source()
    if commit is None:
        pytest.skip("this clone has no history of an earlier schema")
    folder = tmp_path_factory.mktemp("packages")
    new = build(folder)
    earlier = with_code_of(commit, new, folder / "earlier")
    there = Container(tmp_path_factory.mktemp("machine") / "root")
    there.build(debian)
    (there.root / "packages").mkdir()
    for package, name in ((new, "new.deb"), (earlier, "earlier.deb")):
        os.link(package, there.root / "packages" / name)
    there.boot()
    yield there
    there.end()


def states(machine: Container) -> list[str]:
    """The states of all deliveries."""
    return [row["state"] for row in json.loads(machine.run("almirant-webhooks delivery list --json"))]


def deliver(machine: Container) -> None:
    """Insert an event as a producer does, and wait until it has arrived."""
    before = len(states(machine))
    machine.run(f"""sqlite3 -cmd '.timeout 5000' {OUTBOX} "{INSERT}" """, user="shop")
    machine.until(lambda: states(machine) == ["succeeded"] * (before + 1))


def version(machine: Container) -> int:
    """The version of the database's tables."""
    return int(machine.run(f"sqlite3 -readonly {DATABASE} 'PRAGMA user_version'"))


def ready(machine: Container) -> None:
    """It runs, enabled, and says that it delivers."""
    assert machine.run("systemctl is-active almirant-webhooks").strip() == "active"
    assert machine.run("systemctl is-enabled almirant-webhooks").strip() == "enabled"
    assert machine.run("curl --silent --fail http://127.0.0.1:8420/readyz").strip() == '{"status": "ready"}'


def test_installed_it_runs_as_its_own_user(machine: Container) -> None:
    """By the first start: user, groups, directories, configuration, tables. Producers and operators have their rights, as ever."""
    machine.run("dpkg --install /packages/earlier.deb")
    ready(machine)
    rights = machine.run("stat --format='%A %U %G' /var/lib/almirant-webhooks /var/lib/almirant-outbox").splitlines()
    assert rights == [
        "drwxr-x--- almirant-webhooks almirant-webhooks",
        "drwxrws--- almirant-webhooks almirant-producers",
    ]
    unit = (HERE / "systemd" / "almirant-webhooks.service").read_text()
    installed = machine.run("cat /lib/systemd/system/almirant-webhooks.service")
    assert installed == unit.replace("/opt/almirant-webhooks/", "/usr/lib/almirant-webhooks/")
    machine.run("systemd-analyze security --threshold=11 almirant-webhooks")
    machine.run("useradd shop && usermod --append --groups almirant-producers shop")
    refused = machine.run(f"cat {DATABASE}", user="shop", check=False)
    assert "Permission denied" in refused
    # An administrator's own change to the configuration.
    machine.run(f"printf '\\n[egress]\\nallow_localhost = true\\n' >> {CONFIG} && systemctl restart almirant-webhooks")
    machine.run("cp -r /usr/lib/almirant-webhooks /root/receiver")  # a receiver that outlives what is installed
    machine.run(
        "systemd-run --unit=receiver /root/receiver/bin/python -c 'from almirant_webhooks.cli import main; main()' listen --port 8421"
    )
    machine.run("almirant-webhooks webhook create --project proj_1 --url http://127.0.0.1:8421/in --event '*'")
    deliver(machine)


def test_upgraded_it_brings_its_tables_along(machine: Container) -> None:
    """The unit does, at its start; the log and the changed configuration stay, and no question is asked."""
    before = version(machine)
    pid = machine.show("MainPID")
    said = machine.run("dpkg --install /packages/new.deb")
    assert "Configuration file" not in said
    ready(machine)
    assert machine.show("MainPID") != pid
    assert version(machine) > before
    assert "allow_localhost = true" in machine.run(f"cat {CONFIG}")
    assert states(machine) == ["succeeded"]
    deliver(machine)
    assert "interrupted" not in machine.run("almirant-webhooks delivery list")


def test_the_program_is_of_its_own_libraries_and_compiled(machine: Container) -> None:
    """Nobody can write beside them, so their bytecode is in the package; none is made, and nothing of it is missed."""
    where = f"/{LIBRARIES}"
    code = "import aiohttp, almirant_webhooks as ours; print(aiohttp.__file__, ours.__file__, ours.__cached__)"
    files = machine.run(f"/{PROGRAM}/bin/python -c '{code}'").split()
    assert all(file.startswith(where) for file in files)
    assert machine.run(f"cat {files[-1]} | wc -c").strip() != "0"
    assert (
        machine.run("dpkg --verify almirant-webhooks", check=False).replace(f"??5?????? c {CONFIG}", "").strip() == ""
    )
    extra = f"find {where} -newer /var/lib/dpkg/info/almirant-webhooks.list -type f"
    assert machine.run(extra).strip() == ""


def test_the_docs_are_beside_it_and_their_links_lead_somewhere(machine: Container) -> None:
    """As they are in the repository, but for the licence, which is Debian's file `copyright`, and for what is about the source."""
    folder = machine.root / "usr" / "share" / "doc" / "almirant-webhooks"
    pages = [folder / "README.md", *sorted((folder / "docs").glob("*.md"))]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())]
    assert len(links) > 50
    missing = {link for page, link in links if not (page.parent / link).exists()}
    assert missing <= {"LICENSE", "CONTRIBUTING.md"}


def test_removed_it_leaves_every_row_and_installed_again_goes_on(machine: Container) -> None:
    """Configuration, database, key and outbox are there; a producer inserts meanwhile; the next installation sends that."""
    kept = f"sha256sum {CONFIG} {DATABASE}.seal && ls {DATABASE} {OUTBOX}"
    before = machine.run(kept)
    sent = len(states(machine))
    machine.run("dpkg --remove almirant-webhooks")
    assert machine.run("systemctl is-active almirant-webhooks", check=False).strip() == "inactive"
    assert "not found" in machine.run("almirant-webhooks --version", check=False)
    machine.run("test ! -e /usr/lib/almirant-webhooks && test ! -e /lib/systemd/system/almirant-webhooks.service")
    assert machine.run(kept) == before
    machine.run(f"""sqlite3 {OUTBOX} "{INSERT}" """, user="shop")
    machine.run("dpkg --install /packages/new.deb")
    ready(machine)
    machine.until(lambda: states(machine) == ["succeeded"] * (sent + 1))


def test_purged_it_leaves_its_user_and_groups_alone(machine: Container) -> None:
    """As Debian's policy has it, so that no later user gets the numbers of files that may be left elsewhere."""
    machine.run("dpkg --purge almirant-webhooks")
    left = machine.run("find / -xdev -iname '*almirant*' -not -path '/root/*' -not -path '/proc/*' -not -path '/sys/*'")
    assert left.strip() == ""
    assert "almirant" not in machine.run("dpkg --list")
    assert "almirant" not in machine.run("systemctl list-unit-files --no-pager --no-legend")
    assert machine.run("getent passwd almirant-webhooks && getent group almirant-producers")
