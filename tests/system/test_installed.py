"""Installed by the README on a Debian 12 that systemd has booted: what an operator and a producer then have."""

from __future__ import annotations

import json
import os
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import needs
from .container import HERE, Container

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DROP_IN = "/etc/systemd/system/almirant-webhooks.service.d/test.conf"
LOCALHOST = "Environment=ALMIRANT_WEBHOOKS_EGRESS__ALLOW_LOCALHOST=true"
INSERT = "INSERT INTO outbox (project_id, event_type, payload) VALUES ('proj_1', 'lead.created', '{}')"
OUTBOX = "/var/lib/almirant-outbox/outbox.db"
DATABASE = "/var/lib/almirant-webhooks/almirant-webhooks.db"

# Blocks the event loop for good at SIGUSR1, as a fault of ours would.
BLOCK = """
import signal, threading
def block(*_):
    lock = threading.Lock(); lock.acquire(); lock.acquire()
signal.signal(signal.SIGUSR1, block)
"""


@pytest.fixture(scope="module")
def machine(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """The service as the README installs it, allowed to dial the machine itself, where a receiver listens."""
    there = Container(tmp_path_factory.mktemp("machine") / "root")
    there.build(debian)
    there.add_source()
    there.boot()
    block = re.search(r"<!-- install -->\n```sh\n(.+?)```", (HERE / "README.md").read_text(), re.DOTALL)
    assert block is not None
    there.run(block[1], cwd="/src", PIP_NO_INDEX="1", PIP_FIND_LINKS="/wheels", HOME="/root")
    there.run("useradd shop && usermod -aG almirant-producers shop && useradd ada && usermod -aG almirant-webhooks ada")
    there.run(f"mkdir -p $(dirname {DROP_IN}) && printf '[Service]\\n{LOCALHOST}\\n' > {DROP_IN}")
    there.run("systemctl daemon-reload && systemctl restart almirant-webhooks")
    there.run("systemd-run --unit=receiver almirant-webhooks listen --port 8421")
    there.run(
        "systemd-run --unit=hanging /usr/bin/python3 -c 'import socket, time; s = socket.create_server((\"127.0.0.1\", 8422)); time.sleep(10000)'"
    )
    with_localhost = "ALMIRANT_WEBHOOKS_EGRESS__ALLOW_LOCALHOST=true almirant-webhooks webhook create --project"
    there.run(f"{with_localhost} proj_1 --url http://127.0.0.1:8421/in --event '*'")
    there.run(f"{with_localhost} proj_2 --url http://127.0.0.1:8422/in --event '*'")
    yield there
    there.end()


def states(machine: Container, user: str = "root", project: str = "proj_1") -> list[str]:
    """The states of all deliveries of a project."""
    rows = json.loads(
        machine.run(f"almirant-webhooks delivery list --project {project} --limit 1000 --json", user=user)
    )
    return [row["state"] for row in rows]


def test_a_producer_inserts_and_reads_neither_secrets_nor_log(machine: Container) -> None:
    """A user of the producers' group; what it inserts arrives."""
    machine.run(f'sqlite3 {OUTBOX} "{INSERT}"', user="shop")
    machine.until(lambda: states(machine) == ["succeeded"])
    hold_that_a_producer_reads_nothing(machine)
    assert "sudo -u almirant-webhooks" in machine.run("almirant-webhooks delivery list", user="shop", check=False)


def hold_that_a_producer_reads_nothing(machine: Container) -> None:
    for attempt in (
        f"sqlite3 {DATABASE} 'SELECT secret FROM webhooks'",
        f"cat {DATABASE}",
        f"cat {DATABASE}.keys",
        f"ls {os.path.dirname(DATABASE)}",
    ):
        refused = machine.run(attempt, user="shop", check=False)
        assert re.search(r"unable to open|denied", refused), refused


def test_an_operator_reads_the_log_and_cannot_change_it(machine: Container) -> None:
    """A user of the service's group; the command says who could."""
    assert states(machine, user="ada")
    machine.run(f"sqlite3 -readonly {DATABASE} 'SELECT * FROM delivery_log'", user="ada")
    webhook = json.loads(machine.run("almirant-webhooks webhook list --json", user="ada"))[0]["id"]
    assert "sudo -u almirant-webhooks" in machine.run(
        f"almirant-webhooks webhook disable {webhook}", user="ada", check=False
    )
    assert re.search(r"denied", machine.run(f"cat {DATABASE}.keys", user="ada", check=False))


def test_the_unit_is_hardened_as_it_runs(machine: Container) -> None:
    """1.1 or better by systemd's own judgement, with everything in this file working."""
    machine.run("systemd-analyze security --threshold=11 almirant-webhooks")
    assert machine.run("curl --silent --fail http://127.0.0.1:8420/readyz").strip() == '{"status": "ready"}'


def test_killed_hard_it_is_back_and_nothing_is_lost(machine: Container) -> None:
    """systemd starts it again; what was in flight is sent again."""
    before = len(states(machine))
    until_one_is_in_flight(machine)
    inserts = "; ".join([INSERT] * 200)
    machine.run(f'sqlite3 {OUTBOX} "BEGIN; {inserts}; COMMIT"', user="shop")
    pid = machine.show("MainPID")
    machine.run("systemctl kill --signal=SIGKILL almirant-webhooks")
    machine.until(lambda: machine.show("MainPID") not in (pid, "0"))
    machine.until(lambda: states(machine) == ["succeeded"] * (before + 200))
    assert "interrupted" in machine.run("almirant-webhooks delivery show " + _newest(machine, "proj_2"))


def until_one_is_in_flight(machine: Container) -> None:
    """Insert an event for the receiver that never answers, and wait until its request is under way."""
    machine.run(f"""sqlite3 {OUTBOX} "{INSERT.replace("proj_1", "proj_2")}" """, user="shop")
    machine.until(lambda: "in flight" in machine.run("almirant-webhooks delivery show " + _newest(machine, "proj_2")))


def test_a_blocked_loop_is_ended_by_the_watchdog(machine: Container) -> None:
    """Not ready first; the loop feeds the watchdog, so one that stands still does not; afterwards it delivers."""
    machine.run(f"mkdir -p /opt/block && cat > /opt/block/sitecustomize.py <<'END'\n{BLOCK}\nEND")
    machine.run(f"printf '[Service]\\n{LOCALHOST}\\nEnvironment=PYTHONPATH=/opt/block\\n' > {DROP_IN}")
    machine.run("systemctl daemon-reload && systemctl restart almirant-webhooks")
    pid = machine.show("MainPID")
    machine.run(f"kill -USR1 {pid}")
    assert (
        machine.run("curl --silent --max-time 2 http://127.0.0.1:8420/readyz || echo no answer").strip() == "no answer"
    )
    assert machine.show("MainPID") == pid, "it was ended before it was not ready"
    machine.until(lambda: machine.show("MainPID") not in (pid, "0"))
    assert "watchdog" in machine.run("journalctl --unit almirant-webhooks --no-pager").lower()
    before = len(states(machine))
    machine.run(f'sqlite3 {OUTBOX} "{INSERT}"', user="shop")
    machine.until(lambda: states(machine) == ["succeeded"] * (before + 1))


def test_a_stop_ends_within_its_limit_whatever_receivers_do(machine: Container) -> None:
    """One that never answers is not waited for beyond the time limit, and its delivery stays due."""
    until_one_is_in_flight(machine)
    machine.run("systemctl stop almirant-webhooks")
    assert machine.show("Result") == "success"
    assert machine.show("ExecMainStatus") == "0"
    assert states(machine, project="proj_2") == ["pending"] * 2
    assert states(machine, user="ada", project="proj_2") == ["pending"] * 2
    assert "running no" in machine.run("almirant-webhooks stats", user="ada", check=False)
    machine.run("systemctl start almirant-webhooks")


def _newest(machine: Container, project: str) -> str:
    rows = json.loads(machine.run(f"almirant-webhooks delivery list --project {project} --json"))
    return str(rows[0]["delivery_id"]) if rows else "none"


def test_a_new_operator_s_first_day(machine: Container) -> None:
    """The walk-through as it stands, with a receiver that is down for a while, in the order of the page."""
    page = (HERE / "docs" / "walk-through.md").read_text()
    blocks = re.findall(r"<!-- walk: ([a-z ]+) -->\n```sh\n(.+?)```", page, re.DOTALL)
    assert [name for name, _ in blocks] == [
        "secure", "connect", "watch", "back up", "restore", "upgrade", "rotate", "outage", "find", "customer",
    ]  # fmt: skip
    before = {"outage": _OUTAGE}
    script = "\n".join(f"{before.get(name, '')}\necho '=== {name}'\n{block}" for name, block in blocks)
    script = script.replace("https://crm.example.com/almirant", "http://127.0.0.1:8421/crm").replace("proj_1", "proj_9")
    printed = machine.run(
        script, cwd="/src", PIP_NO_INDEX="1", PIP_FIND_LINKS="/wheels", HOME="/root",
        ALMIRANT_WEBHOOKS_EGRESS__ALLOW_LOCALHOST="true",
    )  # fmt: skip
    said = dict(re.findall(r"^=== ([a-z ]+)\n(.*?)(?=^=== |\Z)", printed, re.DOTALL | re.MULTILINE))
    assert "drwxr-x---" in said["secure"]
    assert said["connect"].count("succeeded") == 2
    assert '{"status": "ready"}' in said["watch"]
    assert re.search(r"-rw------- .*almirant-webhooks .*\.db", said["back up"])
    assert "succeeded" in said["restore"]
    assert "both until" in said["rotate"] or "switch" in said["rotate"]
    assert said["outage"].count("connection error") >= 3
    assert "finished" in said["outage"]
    assert "lead-52-created" in said["find"]
    assert "It arrived" in said["customer"]
    assert "webhook.created" in said["customer"]


_OUTAGE = f"""
systemctl stop receiver
for _ in 1 2 3; do runuser -u shop -- sqlite3 -cmd '.timeout 5000' {OUTBOX} "{INSERT}"; done
until [ "$(almirant-webhooks delivery list --webhook "$WEBHOOK" --status 'connection error' --json | grep -c delivery_id)" = 3 ]; do sleep 0.2; done
systemd-run --unit=receiver almirant-webhooks listen --port 8421
until curl --silent --output /dev/null http://127.0.0.1:8421/; do sleep 0.2; done
"""


def test_a_new_machine_goes_on_from_the_copy_by_the_commands_of_the_drill(machine: Container) -> None:
    """Set up by Litestream as the page has it, then lost, and gone on with: what waits is delivered, and copied again."""
    shutil.copy(needs.program("litestream"), machine.root / "usr/local/bin/litestream")
    page = (HERE / "docs" / "standby.md").read_text()
    blocks = {
        name: textwrap.dedent(f"{block}\n")
        for name, block in re.findall(r"^ *<!-- standby: ([a-z ]+) -->\n *```sh\n(.+?)\n *```$", page, re.DOTALL | re.MULTILINE)
    }  # fmt: skip
    assert list(blocks) == ["set up", "empty", "restore", "key", "go on", "copy again"]
    machine.run(blocks.pop("set up"), cwd="/src")
    machine.run(
        "install -d -m 0700 /root/kept && cp /var/lib/almirant-webhooks/*.db.seal /var/lib/almirant-webhooks/*.db.keys /root/kept"
    )
    machine.run("systemctl stop receiver")
    machine.run(f"""sqlite3 -cmd '.timeout 5000' {OUTBOX} "{INSERT}" """, user="shop")
    machine.until(
        lambda: "connection error" in machine.run("almirant-webhooks delivery show " + _newest(machine, "proj_1"))
    )
    waiting = _newest(machine, "proj_1")
    machine.until(lambda: waiting in copied(machine, DATABASE, "SELECT id FROM deliveries"))
    machine.until(lambda: copied(machine, OUTBOX, "SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL") == "0")
    machine.run("systemctl kill --signal=SIGKILL almirant-webhooks-litestream almirant-webhooks")
    machine.run("systemctl disable --now almirant-webhooks-litestream && rm -r /var/lib/almirant-webhooks-litestream")

    script = "\n".join(blocks.values())
    machine.run(f"bash -eu <<'END'\n{script}\nEND", HOME="/root")
    assert machine.run("curl --silent --fail http://127.0.0.1:8420/readyz").strip() == '{"status": "ready"}'
    hold_that_a_producer_reads_nothing(machine)
    machine.run("systemd-run --unit=receiver almirant-webhooks listen --port 8421")
    machine.run("almirant-webhooks delivery resend --project proj_1 --state pending --yes")
    machine.run(f"""sqlite3 -cmd '.timeout 5000' {OUTBOX} "{INSERT}" """, user="shop")
    machine.until(lambda: set(states(machine)) == {"succeeded"})
    newest = _newest(machine, "proj_1")
    assert newest != waiting
    machine.until(lambda: newest in copied(machine, DATABASE, "SELECT id FROM deliveries"))
    machine.run("systemctl disable --now almirant-webhooks-litestream")


def copied(machine: Container, path: str, question: str) -> str:
    """Ask the copy of a file, as far as there is one."""
    restore = "runuser -u almirant-webhooks -- litestream restore -config /etc/almirant-webhooks/litestream.yml"
    probe = f"{os.path.dirname(DATABASE)}/probe.db"
    script = f"rm -f {probe}* && {restore} -o {probe} {path} >/dev/null && sqlite3 {probe} '{question}'; rm -f {probe}*"
    return machine.run(script, check=False).strip()


def test_a_bad_configuration_is_not_tried_over_and_over(machine: Container) -> None:
    """Exit 78, which `systemctl status` shows with the sentence; mended, it starts."""
    config = Path("/etc/almirant-webhooks/config.toml")
    machine.run(f"cp {config} /root/good.toml && printf '\\n[delivery]\\ntimout = \"5s\"\\n' >> {config}")
    machine.run("systemctl restart almirant-webhooks", check=False)
    machine.until(lambda: machine.show("ActiveState") == "failed")
    assert machine.show("NRestarts") == "0"
    shown = machine.run("systemctl status --no-pager almirant-webhooks", check=False)
    assert "status=78" in shown
    assert "Did you mean delivery.timeout?" in shown
    machine.run(f"cp /root/good.toml {config} && systemctl start almirant-webhooks")
    assert machine.show("ActiveState") == "active"


def seed(machine: Container, *lines: str) -> None:
    """Put these lines into the unit, after all others; none takes them out again."""
    drop_in = DROP_IN.replace("test.conf", "zz-seeded.conf")
    machine.run(f"cat > {drop_in} <<'END'\n" + "\n".join(lines) + "\nEND" if lines else f"rm -f {drop_in}")
    machine.run("systemctl daemon-reload")


def test_these_tests_find_a_careless_installation(machine: Container) -> None:
    """Seeded: a database for all to read, a unit without its fences, one that tries a bad configuration again."""
    machine.run(f"chmod 0755 {os.path.dirname(DATABASE)} && chmod 0644 {DATABASE}")
    with pytest.raises(AssertionError):
        hold_that_a_producer_reads_nothing(machine)
    machine.run(f"chmod 0750 {os.path.dirname(DATABASE)} && chmod 0640 {DATABASE}")
    hold_that_a_producer_reads_nothing(machine)

    seed(machine, "[Service]", "NoNewPrivileges=no", "ProtectSystem=no", "PrivateDevices=no")
    with pytest.raises(AssertionError):
        machine.run("systemd-analyze security --threshold=11 almirant-webhooks")

    limit = ("StartLimitIntervalSec=5min", "StartLimitBurst=4")
    seed(machine, "[Unit]", *limit, "[Service]", "RestartPreventExitStatus=", "RestartSec=1s")
    with pytest.raises(AssertionError):
        test_a_bad_configuration_is_not_tried_over_and_over(machine)
    seed(machine)
    machine.run("cp /root/good.toml /etc/almirant-webhooks/config.toml && systemctl reset-failed almirant-webhooks")
    machine.run("systemctl start almirant-webhooks")
