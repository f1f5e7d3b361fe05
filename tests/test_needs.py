"""What is missing on a machine: a skip with its reason for a person, a failure in CI."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from .conftest import pytest_runtest_makereport
from .support import needs

HERE = Path(__file__).parent.parent


def _call() -> pytest.CallInfo[None]:
    def skips() -> None:
        needs.program("a-program-that-nobody-has")

    return pytest.CallInfo.from_call(skips, "call", reraise=())


@pytest.mark.long
@pytest.mark.parametrize(("ci", "kind"), [("", pytest.skip.Exception), ("true", AssertionError)])
def test_a_skip_is_a_failure_in_ci_alone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, ci: str, kind: type[BaseException]
) -> None:
    """And it goes on naming what is missing."""
    monkeypatch.setenv("CI", ci)
    call = _call()
    pytest_runtest_makereport(request.node, call)
    assert call.excinfo is not None
    assert call.excinfo.type is kind
    assert "a-program-that-nobody-has is not installed" in str(call.excinfo.value)


@pytest.mark.long
def test_a_program_of_the_system_is_found_by_a_user_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's users do not have /usr/sbin in their PATH."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert needs.program("ldconfig").endswith("sbin/ldconfig")


def test_a_fast_test_gets_python_alone() -> None:
    """It runs on every Python and with the newest libraries, and all of them in less than a minute."""
    with pytest.raises(AssertionError, match="mark it `long`"):
        needs.program("sh")


def test_a_listing_that_was_left_open_fails_no_test(tmp_path: Path) -> None:
    """pytest does so while it removes the folders of earlier runs, and another run is quicker."""
    (tmp_path / "left").mkdir()
    listing = os.scandir(tmp_path)
    assert next(listing).name == "left"
    del listing
    gc.collect()


def test_a_folder_of_an_earlier_run_that_cannot_be_removed_fails_no_test() -> None:
    """pytest warns of one that another run fills or empties meanwhile; such a warning once failed a whole run."""
    warnings.warn("(rm_rf) error removing /tmp/garbage\nDirectory not empty", pytest.PytestWarning, stacklevel=1)


@pytest.mark.long
def test_what_needs_rights_is_skipped_without_them(tmp_path: Path) -> None:
    """The tests that make networks, file systems and users of their own, run by somebody who may not."""
    less = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if os.geteuid() == 0 else []
    names = [
        "tests/sending/test_network.py",
        "tests/faults/test_outage.py",
        "tests/faults/test_disk_full.py",
        "tests/upkeep/test_health.py",
    ]
    done = subprocess.run(
        [*less, sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'nested'}", "-k", "inner_services or route or idle or low_on_disk", *names],
        cwd=HERE, env={**os.environ, "CI": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" in done.stdout
